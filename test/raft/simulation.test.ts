/**
 * Seeded runs of whole clusters under loss, repetition, reordering, partitions, crashes, pauses and
 * membership changes; then only a quorum is healed and must get on. RAFT_SEED replays one seed,
 * RAFT_SEEDS says how many.
 */
import t from 'tap';
import { SeededRandom } from '../support/simulated-environment.js';
import {
  checkLogMatching,
  type ClusterOptions,
  type Mutation,
  SimulatedCluster,
} from './simulated-cluster.js';

const FAULT_STEPS = 160;
const LIVENESS_MS = 20_000;

function drawOptions(seed: number, mutation: Mutation): ClusterOptions {
  const random = new SeededRandom(seed);
  const nodes = random.pick([3, 3, 5]);
  return {
    seed,
    nodes,
    spares: random.pick([0, 0, 2]),
    lossChance: random.pick([0, 0.02, 0.15]),
    repeatChance: random.pick([0, 0.05, 0.2]),
    delayMsMax: random.pick([2, 10, 40]),
    persistMsMax: random.pick([1, 5, 30]),
    snapshotEvery: random.pick([8, 30, 1000]),
    mutation,
  };
}

/** Random faults and requests for a while, with checks all along. */
function runFaults(cluster: SimulatedCluster): void {
  const { random, options } = cluster;
  const all = [...cluster.members.values()];
  for (let step = 0; step < FAULT_STEPS; step++) {
    cluster.run(random.integer(5, 120));
    for (let count = random.integer(0, 6); count > 0; count--) {
      const leader = random.chance(0.8) ? cluster.leading.at(-1) : cluster.leading[0];
      if (leader !== undefined) cluster.propose(leader);
    }
    const member = random.pick(all);
    if (random.chance(0.3)) cluster.read(member);
    if (random.chance(0.1)) cluster.crash(member);
    else if (random.chance(0.4) && member.process === undefined) cluster.start(member);
    if (random.chance(0.06)) partition(cluster);
    else if (random.chance(0.1)) cluster.blocked.clear();
    if (random.chance(0.05)) cluster.transfer(member.id);
    if (options.spares > 0 && random.chance(0.15)) changeMembership(cluster);
    if (step % 20 === 0) checkLogMatching(cluster);
  }
}

function partition(cluster: SimulatedCluster): void {
  const { random } = cluster;
  const ids = [...cluster.members.keys()];
  const side = new Map(ids.map((id) => [id, random.chance(0.5)]));
  const oneWay = random.chance(0.3);
  cluster.blocked.clear();
  for (const a of ids) {
    for (const b of ids) {
      if (side.get(a) === side.get(b)) continue;
      if (!oneWay || side.get(a) === true) cluster.blocked.add(`${a}>${b}`);
    }
  }
}

function changeMembership(cluster: SimulatedCluster): void {
  const { random } = cluster;
  const { voters, learners } = cluster.conf;
  const outside = [...cluster.members.keys()].filter((id) => !voters.includes(id));
  if (voters.length > 3 && random.chance(0.4)) {
    cluster.changeMembership(random.pick(voters), 'removeMember');
  } else if (outside.length > 0) {
    const id = random.pick(outside);
    const asLearner = !learners.includes(id) && random.chance(0.5);
    cluster.changeMembership(id, asLearner ? 'addLearner' : 'addVoter');
  }
}

/** Heals a quorum and leaves the rest dead: it must elect a leader and agree on new entries. */
function runLiveness(cluster: SimulatedCluster): void {
  const { random } = cluster;
  cluster.faultsOn = false;
  cluster.blocked.clear();
  for (const member of cluster.members.values()) {
    if (member.process === undefined) cluster.start(member);
  }
  cluster.run(5000);
  const { voters } = cluster.conf;
  const spared = random.shuffle(voters).slice(0, Math.floor(voters.length / 2) + 1);
  const core = random.chance(0.5) ? spared : voters;
  for (const member of cluster.members.values()) {
    if (!core.includes(member.id)) cluster.crash(member);
  }
  const before = Math.max(...cluster.canonical.keys(), 0);
  let waitedMs = 0;
  for (; waitedMs < LIVENESS_MS; waitedMs += 500) {
    const leader = cluster.leading.at(-1);
    if (leader !== undefined) cluster.propose(leader);
    cluster.run(500);
    const applied = core.map((id) => cluster.member(id).process?.appliedIndex ?? 0);
    if (Math.min(...applied) >= before + 3) break;
  }
  if (waitedMs >= LIVENESS_MS) {
    throw new Error(`a healed quorum of ${core.join()} did not get on: ${cluster.describe()}`);
  }
  cluster.run(3000);
  const states = new Set(core.map((id) => cluster.member(id).process?.state));
  if (states.size !== 1) throw new Error('the members of the healed quorum differ');
}

function runSeed(seed: number, mutation: Mutation): SimulatedCluster {
  const cluster = new SimulatedCluster(drawOptions(seed, mutation));
  runFaults(cluster);
  runLiveness(cluster);
  checkLogMatching(cluster);
  return cluster;
}

// Longer runs than tap's usual half minute are asked for by RAFT_SEEDS.
t.setTimeout(900_000);

const replay = process.env['RAFT_SEED'];
const seeds =
  replay === undefined
    ? Array.from({ length: Number(process.env['RAFT_SEEDS'] ?? 30) }, (_, at) => at + 1)
    : [Number(replay)];

void t.test('safety under faults, progress of a healed quorum', async (t) => {
  t.setTimeout(900_000);
  let applied = 0;
  let reads = 0;
  let terms = 0;
  for (const seed of seeds) {
    try {
      const cluster = runSeed(seed, 'none');
      applied += cluster.canonical.size;
      reads += cluster.answeredReads;
      terms += cluster.leaders.size;
    } catch (error) {
      throw new Error(`RAFT_SEED=${seed}: ${String(error)}`, { cause: error });
    }
  }
  t.comment(`${seeds.length} seeds: ${applied} entries, ${reads} reads, ${terms} leaders`);
  t.ok(applied > seeds.length * 30, 'enough was agreed upon for the checks to mean something');
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
