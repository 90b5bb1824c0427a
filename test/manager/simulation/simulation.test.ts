/**
 * The leader's loops against agents that fail, nodes that come and go and users that change their
 * minds, in virtual time. A failing seed is printed: replay it with SKEP_SEED=n, or run more with
 * SKEP_SEEDS=n, of which the first is SKEP_FIRST_SEED.
 */
import t from 'tap';
import { runScenario } from './scenario.js';

const single = process.env['SKEP_SEED'];
const count = Number(process.env['SKEP_SEEDS'] ?? 16);
const first = Number(process.env['SKEP_FIRST_SEED'] ?? 1);
const seeds =
  single === undefined
    ? Array.from({ length: count }, (_, index) => first + index)
    : [Number(single)];

// Virtual time costs processor time only; a busy machine may take long.
const TIMEOUT_MS = 120_000;
t.setTimeout(TIMEOUT_MS * seeds.length);

for (const seed of seeds) {
  void t.test(`seed ${seed}`, { timeout: TIMEOUT_MS }, async (t) => {
    const violations = await runScenario(seed);
    t.same(violations.slice(0, 10), [], `replay with SKEP_SEED=${seed}`);
  });
}
