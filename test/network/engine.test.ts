/**
 * NodeNetwork against a real Docker Engine, in namespaces of its own (see scenarios/engine.ts).
 */
import t from 'tap';
import { runScenario } from './support/in-namespace.js';
import { removeTraces } from './support/private-engine.js';

void t.test('node networking beside a real engine', { timeout: 240_000 }, async (t) => {
  t.teardown(() => removeTraces('/var/tmp/skep-network-test'));
  const { code, output } = await runScenario('engine', 230_000);
  t.equal(code, 0, output);
  t.match(output, /scenario passed/);
});
