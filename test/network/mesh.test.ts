/**
 * Two NodeNetworks with the real data path and real gossip, in namespaces of their own (see
 * scenarios/mesh.ts).
 */
import t from 'tap';
import { runScenario } from './support/in-namespace.js';
import { removeTraces } from './support/private-engine.js';

const ROOT = '/var/tmp/skep-network-mesh';

void t.test('two nodes with data path and gossip', { timeout: 120_000 }, async (t) => {
  t.teardown(() => removeTraces(ROOT));
  const { code, output } = await runScenario('mesh', 110_000, { SKEP_TESTBED: ROOT });
  t.equal(code, 0, output);
  t.match(output, /scenario passed/);
});
