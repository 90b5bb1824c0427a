/**
 * The gossip core under AddressSanitizer and UndefinedBehaviorSanitizer: all of its tests, then hostile
 * bytes at every decoder, many more than in each run of the tests. SKEP_FUZZ_ROUNDS and SKEP_FUZZ_SEED choose.
 */
import t from 'tap';
import { runCore } from './core-program.js';

const ROUNDS = process.env['SKEP_FUZZ_ROUNDS'] ?? '1000000';
const SEEDS = ['11', '12', '13'];
const LIMIT_MS = 3_000_000;
t.setTimeout(LIMIT_MS);

void t.test('everything', { timeout: LIMIT_MS }, async (test) =>
  runCore(test, { sanitized: true }),
);

for (const seed of process.env['SKEP_FUZZ_SEED']?.split(',') ?? SEEDS)
  void t.test(
    `${ROUNDS} rounds of hostile bytes, seed ${seed}`,
    { timeout: LIMIT_MS },
    async (test) =>
      runCore(test, {
        sanitized: true,
        filter: 'fuzz',
        environment: { SKEP_FUZZ_ROUNDS: ROUNDS, SKEP_FUZZ_SEED: seed },
      }),
  );
