/**
 * Seeded runs of whole clusters under loss, repetition, reordering, partitions, crashes, pauses and
 * membership changes; then only a quorum is healed and must get on. RAFT_SEED replays one seed,
 * RAFT_SEEDS says how many.
 */
import t from 'tap';
import type { Mutation } from './simulated-cluster.js';
import { runSeed } from './simulation-run.js';

// Longer runs than tap's usual half minute are asked for by RAFT_SEEDS.
t.setTimeout(3_600_000);

const replay = process.env['RAFT_SEED'];
const seeds =
  replay === undefined
    ? Array.from({ length: Number(process.env['RAFT_SEEDS'] ?? 100) }, (_, at) => at + 1)
    : [Number(replay)];

void t.test('safety under faults, progress of a healed quorum', async (t) => {
  t.setTimeout(3_600_000);
  let applied = 0;
  let reads = 0;
  let terms = 0;
  let joint = 0;
  let virtualMs = 0;
  const startMs = performance.now();
  for (const seed of seeds) {
    try {
      const cluster = runSeed(seed, 'none');
      applied += cluster.canonical.size;
      reads += cluster.clients.answeredReads;
      terms += cluster.leaders.size;
      joint += cluster.jointChanges;
      virtualMs += cluster.environment.clock.monotonicMs();
    } catch (error) {
      throw new Error(`RAFT_SEED=${seed}: ${String(error)}`, { cause: error });
    }
  }
  const minutes = virtualMs / 60_000;
  const seconds = (performance.now() - startMs) / 1000;
  t.comment(
    `${seeds.length} seeds: ${applied} entries, ${reads} reads, ${terms} leaders, ${joint} joint changes; ` +
      `${minutes.toFixed(0)} simulated minutes, ${(minutes / seconds).toFixed(2)} a second`,
  );
  t.ok(applied > seeds.length * 30, 'enough was agreed upon for the checks to mean something');
  t.ok(reads > seeds.length * 20, 'enough was read');
  t.ok(seeds.length < 10 || joint > seeds.length / 2, 'members changed several at once');
  t.ok(terms > seeds.length * 2, 'leadership changed');
});

void t.test('a run is the same from the same seed', async (t) => {
  const summary = (): unknown => {
    const cluster = runSeed(4711, 'none');
    return [[...cluster.canonical.values()].at(-1)?.state, cluster.leaders];
  };
  t.same(summary(), summary());
});

const mutations: readonly Mutation[] = ['sendBeforePersist', 'forgetVote', 'loseAcknowledgedTail'];
for (const mutation of mutations) {
  void t.test(`the checks notice a shell that breaks the rules: ${mutation}`, async (t) => {
    let noticed: string | undefined;
    let seed = 0;
    while (noticed === undefined && seed < 150) {
      seed += 1;
      try {
        runSeed(seed, mutation);
      } catch (error) {
        // Not getting on is no violation of safety.
        if (!String(error).includes('did not get on')) noticed = String(error);
      }
    }
    t.ok(noticed, `noticed at seed ${seed}: ${noticed}`);
  });
}
