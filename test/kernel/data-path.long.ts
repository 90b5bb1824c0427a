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
  /** Compiled, under dist/test. What waits for answers of a network would mostly wait too briefly there. */
  readonly file: string;
  /** Runs before it. */
  readonly prepare?: string;
  readonly environment?: string;
}

const FEW = 'SKEP_TEST_KEY_CHANGES=4 SKEP_TEST_TRANSFER_BYTES=2000000';
const SUITES: readonly Suite[] = [
  { name: 'IPv4', file: 'native/datapath/programs.test.js' },
  { name: 'IPv6', file: 'native/datapath/programs6.test.js' },
  { name: 'verifier', file: 'native/datapath/verifier.test.js' },
  { name: 'SCTP', file: 'kernel/sctp.js' },
  { name: 'WireGuard of the kernel', file: 'native/datapath/encryption.test.js', environment: FEW },
  // Without the program that configures the kernel's, wireguard-go is taken.
  {
    ...{ name: 'wireguard-go', file: 'native/datapath/encryption.test.js', environment: FEW },
    prepare: 'mount --bind /dev/null /usr/bin/wg &&',
  },
];

await t.test('the data path on a Debian kernel', async (t) => {
  const machine = await prepareMachine();
  t.comment(`Linux ${machine.kernel}`);
  for (const { name, file, prepare = '', environment = '' } of SUITES) {
    const node = `TAP_TIMEOUT=0 NO_COLOR=1 ${environment} node --test --test-reporter=tap dist/test/${file}`;
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
