/**
 * The leader's loops against agents that fail, nodes that come and go and users that change their
 * minds, in virtual time. A failing seed is printed: replay it with SKEP_SEED=n.
 */
import t from 'tap';
import { runScenario } from './scenario.js';

const SEEDS = 30;
const single = process.env['SKEP_SEED'];
const seeds =
  single === undefined ? Array.from({ length: SEEDS }, (_, index) => index + 1) : [Number(single)];

for (const seed of seeds) {
  void t.test(`seed ${seed}`, async (t) => {
    const violations = await runScenario(seed);
    t.same(violations.slice(0, 10), [], `replay with SKEP_SEED=${seed}`);
  });
}
