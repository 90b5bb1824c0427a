/**
 * The data path's programs on Debian's kernel: another verifier, clsact instead of tcx, and the
 * modules a Debian host has.
 */
import t from 'tap';
import { prepareMachine, runInMachine } from './machine.js';

// Emulated, everything takes about twenty times as long.
const TIMEOUT_MS = 50 * 60_000;
t.setTimeout(TIMEOUT_MS + 300_000);

// What waits for answers of a network would wait too briefly there.
const SUITES = ['programs', 'programs6', 'verifier'];

await t.test('the data path on a Debian kernel', async (t) => {
  const machine = await prepareMachine();
  t.comment(`Linux ${machine.kernel}`);
  for (const suite of SUITES) {
    const test = `dist/test/native/datapath/${suite}.test.js`;
    const command = `TAP_TIMEOUT=0 NO_COLOR=1 node --test --test-reporter=tap ${test}`;
    const { code, output } = await runInMachine(machine, command, TIMEOUT_MS / SUITES.length);
    const passed = Number(/^# pass (\d+)/m.exec(output)?.[1] ?? 0);
    t.equal(code, 0, `${suite}: ${passed} passed\n${failures(output)}`);
    t.ok(passed > 0, `${suite} ran`);
  }
});

/** The part of the console that says what went wrong. */
function failures(output: string): string {
  const lines = output.split('\n');
  const kept = lines.filter((line) => /not ok|rror|panic|SKEP-EXIT/.test(line));
  return kept.slice(0, 50).join('\n');
}
