/**
 * The data path's programs on Debian's kernel: another verifier, clsact instead of tcx, and the
 * modules a Debian host has.
 */
import t from 'tap';
import { prepareMachine, runInMachine } from './machine.js';

// Emulated, everything takes about twenty times as long.
const TIMEOUT_MS = 50 * 60_000;
t.setTimeout(TIMEOUT_MS + 300_000);

interface Suite {
  readonly name: string;
  /** Of test/native/datapath. What waits for answers of a network would mostly wait too briefly there. */
  readonly file: string;
  /** Runs before it. */
  readonly prepare?: string;
  readonly environment?: string;
}

const FEW = 'SKEP_TEST_KEY_CHANGES=4 SKEP_TEST_TRANSFER_BYTES=2000000';
const SUITES: readonly Suite[] = [
  { name: 'IPv4', file: 'programs' },
  { name: 'IPv6', file: 'programs6' },
  { name: 'verifier', file: 'verifier' },
  { name: 'WireGuard of the kernel', file: 'encryption', environment: FEW },
  // Without the program that configures the kernel's, wireguard-go is taken.
  {
    ...{ name: 'wireguard-go', file: 'encryption', environment: FEW },
    prepare: 'mount --bind /dev/null /usr/bin/wg &&',
  },
];

await t.test('the data path on a Debian kernel', async (t) => {
  const machine = await prepareMachine();
  t.comment(`Linux ${machine.kernel}`);
  for (const { name, file, prepare = '', environment = '' } of SUITES) {
    const test = `dist/test/native/datapath/${file}.test.js`;
    const node = `TAP_TIMEOUT=0 NO_COLOR=1 ${environment} node --test --test-reporter=tap ${test}`;
    const { code, output } = await runInMachine(
      machine,
      `${prepare} ${node}`,
      TIMEOUT_MS / SUITES.length,
    );
    const passed = Number(/^# pass (\d+)/m.exec(output)?.[1] ?? 0);
    t.equal(code, 0, `${name}: ${passed} passed\n${failures(output)}`);
    t.ok(passed > 0, `${name} ran`);
    for (const rates of output.match(/[^#]*MB\/s.*/g) ?? []) t.comment(rates);
  }
});

/** The part of the console that says what went wrong. */
function failures(output: string): string {
  const lines = output.split('\n');
  const kept = lines.filter((line) => /not ok|rror|panic|SKEP-EXIT/.test(line));
  return kept.slice(0, 50).join('\n');
}
