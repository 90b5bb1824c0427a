/** WireGuard devices of a host, in namespaces of its own (see scenarios/wireguard.ts). */
import t from 'tap';
import { runScenario } from '../support/in-namespace.js';

void t.test('WireGuard devices', { timeout: 120_000 }, async (t) => {
  const { code, output } = await runScenario('wireguard', 60_000);
  t.equal(code, 0, output);
  t.match(output, /scenario passed/);
});
