/**
 * One seed's run of a whole cluster: loss, repetition, reordering, partitions, crashes, pauses, lost
 * disks and membership changes; then only a quorum is healed and must get on; a few times over.
 */
import type { MemberChange, NodeId } from '../../src/raft/types.js';
import { SeededRandom } from '../support/simulated-environment.js';
import {
  checkLogMatching,
  type ClusterOptions,
  type Mutation,
  SimulatedCluster,
} from './simulated-cluster.js';

const ROUNDS = 3;
const FAULT_STEPS = 60;
/** How long a play waits for somebody to lead. */
const PATIENCE_MS = 400;
const LIVENESS_MS = 20_000;

/** What the run of a seed draws from. */
export function drawOptions(seed: number, mutation: Mutation): ClusterOptions {
  const random = new SeededRandom(seed);
  const nodes = random.pick([1, 3, 3, 3, 5]);
  return {
    seed,
    nodes,
    spares: random.pick([0, 0, 2, 3]),
    lossChance: random.pick([0, 0.02, 0.15]),
    repeatChance: random.pick([0, 0.05, 0.2]),
    delayMsMax: random.pick([2, 10, 40]),
    persistMsMax: random.pick([2, 20, 200, 1000]),
    snapshotEvery: random.pick([8, 30, 1000]),
    electionTicks: random.pick([4, 4, 10]),
    voteCrashChance: random.pick([0, 0, 0.4]),
    leaderCutChance: random.pick([0, 0.3, 0.6]),
    mutation,
  };
}

/** Random faults and requests for a while, or until elections have become hard, with checks all along. */
function runFaults(cluster: SimulatedCluster): void {
  const { random, options } = cluster;
  const losesDisk = random.chance(0.1) ? random.integer(0, FAULT_STEPS) : -1;
  for (let step = 0; step < FAULT_STEPS; step++) {
    cluster.run(random.integer(5, 120));
    for (let count = random.integer(0, 6); count > 0; count--) {
      const leader = random.chance(0.8) ? cluster.leading.at(-1) : cluster.leading[0];
      if (leader !== undefined) cluster.propose(leader);
    }
    const member = random.pick([...cluster.members.values()]);
    for (let count = random.integer(0, 2); count > 0; count--) {
      cluster.read(random.pick([...cluster.members.values()]));
    }
    if (random.chance(0.1)) cluster.crash(member);
    else if (random.chance(0.4) && member.process === undefined) cluster.start(member);
    if (random.chance(0.1)) strandLeader(cluster);
    if (random.chance(0.04)) rivals(cluster);
    if (random.chance(0.06)) partition(cluster);
    else if (random.chance(0.1)) cluster.join(member.id);
    else if (random.chance(0.05)) cluster.blocked.clear();
    if (random.chance(0.05)) cluster.transfer(member.id);
    if (step === losesDisk && mayLoseDisk(cluster)) cluster.loseDisk(member);
    if (options.spares > 0 && random.chance(0.15)) changeMembership(cluster);
    if (options.spares > 0 && random.chance(0.05)) replaceMost(cluster);
    if (step % 5 === 0) checkLogMatching(cluster);
    if (options.spares === 0 && cluster.unequalVoters().length > 0 && random.chance(0.2)) return;
  }
}

/** With two voters dead for good a quorum might be, too, and so with one of those to come. */
function mayLoseDisk({ conf, members, isChanging }: SimulatedCluster): boolean {
  const { voters, joint } = conf;
  return (
    !isChanging &&
    joint === undefined &&
    voters.length >= 3 &&
    voters.every((id) => members.has(id))
  );
}

/** Leaves a leader alone with entries that nobody else gets, and perhaps kills it with them. */
function strandLeader(cluster: SimulatedCluster): void {
  const { random } = cluster;
  const leader = cluster.leading.at(-1);
  if (leader === undefined) return;
  cluster.isolate(leader.id);
  for (let burst = random.integer(1, 6); burst > 0; burst--) {
    for (let count = random.integer(1, 4); count > 0; count--) cluster.propose(leader);
    cluster.run(random.integer(0, 50));
  }
  if (random.chance(0.3)) cluster.crash(leader);
  else if (random.chance(0.7)) cluster.join(leader.id);
}

/**
 * Two voters lead in turn while the other one is cut off, each for a moment and perhaps alone: their
 * logs part again and again, and what one has spread the other one may have to take back.
 */
function rivals(cluster: SimulatedCluster): void {
  const { random } = cluster;
  const [a, b] = random.shuffle(cluster.voters);
  if (a === undefined || b === undefined) return;
  cluster.blocked.clear();
  for (let turn = random.integer(2, 5); turn > 0; turn--) {
    const [id, other] = turn % 2 === 0 ? [a, b] : [b, a];
    if (random.chance(0.3)) cluster.crash(cluster.member(other));
    else cluster.isolate(other);
    cluster.join(id);
    startAll(cluster, other);
    const leads = waitFor(cluster, () => cluster.leading.some((one) => one.id === id));
    if (!leads) continue;
    if (random.chance(0.5)) cluster.run(random.integer(0, 60));
    cluster.isolate(id);
    for (let count = random.integer(0, 4); count > 0; count--) cluster.propose(cluster.member(id));
    if (random.chance(0.4)) cluster.crash(cluster.member(id));
    if (random.chance(0.5)) continue;
    // Back as soon as somebody else leads, while its disk still writes what will not be.
    cluster.blocked.clear();
    cluster.isolate(id);
    startAll(cluster, id);
    waitFor(cluster, () => cluster.leading.some((one) => one.id !== id));
    cluster.join(id);
    cluster.run(random.integer(0, 200));
  }
  if (random.chance(0.5)) cluster.blocked.clear();
}

/** Runs until `condition` holds; false when that takes too long. */
function waitFor(cluster: SimulatedCluster, condition: () => boolean): boolean {
  for (let waitedMs = 0; waitedMs < PATIENCE_MS; waitedMs++) {
    if (condition()) return true;
    cluster.run(1);
  }
  return false;
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
  const { voters, learners, joint } = cluster.conf;
  const outside = [...cluster.members.keys()].filter((id) => !voters.includes(id));
  if (joint !== undefined && random.chance(0.6)) {
    cluster.changeMembership({ kind: 'leaveJoint' });
  } else if (random.chance(0.5)) {
    changeMany(cluster);
  } else if (voters.length > 3 && random.chance(0.4)) {
    cluster.changeMembership(change('removeMember', random.pick(voters)));
  } else if (outside.length > 0) {
    const id = random.pick(outside);
    const asLearner = !learners.includes(id) && random.chance(0.5);
    cluster.changeMembership(change(asLearner ? 'addLearner' : 'addVoter', id));
  }
}

/** Changes several members at once, as long as enough of the new voters have their disks. */
function changeMany(cluster: SimulatedCluster): void {
  const { random, conf, members } = cluster;
  const voters = new Set(conf.voters);
  const changes = random
    .shuffle([...members.keys()])
    .slice(0, random.integer(1, 4))
    .map((id) => {
      const kind = random.pick(
        voters.has(id)
          ? (['removeMember', 'addLearner', 'addVoter'] as const)
          : (['addVoter', 'addVoter', 'addLearner', 'removeMember'] as const),
      );
      if (kind === 'addVoter') voters.add(id);
      else voters.delete(id);
      return change(kind, id);
    });
  const present = [...voters].filter((id) => members.has(id)).length;
  if (present <= voters.size / 2) return;
  const transition = random.pick(['auto', 'implicit', 'explicit'] as const);
  cluster.changeMembership({ kind: 'joint', transition, changes });
}

/**
 * Others take the place of all voters but the leader, and the two are parted as soon as the leader has
 * applied that: the old voters know of nothing, and may elect one of them as they always did.
 */
function replaceMost(cluster: SimulatedCluster): void {
  const { random, conf, members, leading } = cluster;
  const leader = leading.at(-1);
  const old = conf.voters.filter((id) => id !== leader?.id);
  const fresh = [...members.keys()].filter((id) => !conf.voters.includes(id)).slice(0, 3);
  if (leader === undefined || conf.joint !== undefined || fresh.length < 2) return;
  cluster.blocked.clear();
  startAll(cluster);
  const changes = [
    ...fresh.map((id) => change('addVoter', id)),
    ...old.map((id) => change(random.chance(0.5) ? 'removeMember' : 'addLearner', id)),
  ];
  const transition = random.pick(['implicit', 'explicit', 'explicit'] as const);
  cluster.changeMembership({ kind: 'joint', transition, changes });
  if (!waitFor(cluster, () => cluster.conf.joint !== undefined)) return;
  cluster.part(old, [leader.id, ...fresh]);
  for (let turn = random.integer(2, 12); turn > 0; turn--) {
    for (const one of cluster.leading) {
      cluster.propose(one);
      if (random.chance(0.5)) cluster.read(one);
    }
    cluster.run(random.integer(5, 80));
  }
  if (random.chance(0.7)) cluster.blocked.clear();
}

function change(kind: MemberChange['kind'], nodeId: NodeId): MemberChange {
  return { kind, nodeId, context: new Uint8Array(0) };
}

/** Starts whoever is dead, but for one perhaps. */
function startAll(cluster: SimulatedCluster, except = 0): void {
  for (const member of cluster.members.values()) {
    if (member.process === undefined && member.id !== except) cluster.start(member);
  }
}

/** Heals a quorum and leaves the rest dead: it must elect a leader and agree on new entries. */
function runLiveness(cluster: SimulatedCluster): void {
  const { random, options } = cluster;
  cluster.faultsOn = false;
  cluster.blocked.clear();
  // With members that come and go the last change must first get through to those that are spared.
  if (options.spares > 0 || random.chance(0.3)) {
    startAll(cluster);
    let waitedMs = 0;
    for (; !cluster.isSettled && waitedMs < LIVENESS_MS; waitedMs += 500) cluster.run(500);
    if (waitedMs >= LIVENESS_MS) throw new Error(`all did not get on: ${cluster.describe()}`);
  }
  const unequal = cluster.unequalVoters();
  const others = cluster.voters.filter((id) => !unequal.includes(id));
  const spared: NodeId[] = [];
  for (const id of [...unequal, ...random.shuffle(others)]) {
    if (!cluster.isQuorum(spared)) spared.push(id);
  }
  const core = random.chance(0.7) ? spared : cluster.voters;
  startAll(cluster);
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
  const answeredBefore = cluster.clients.answeredReads;
  for (const id of core) cluster.read(cluster.member(id));
  cluster.run(500);
  if (cluster.clients.answeredReads < answeredBefore + core.length) {
    throw new Error(`a healed quorum did not get on: reads have no answers${cluster.describe()}`);
  }
  const states = new Set(core.map((id) => cluster.member(id).process?.map.hash));
  if (states.size !== 1) throw new Error('the members of the healed quorum differ');
}

/** Runs a seed and returns what is left of it. @throws Error that says what is violated */
export function runSeed(seed: number, mutation: Mutation): SimulatedCluster {
  const cluster = new SimulatedCluster(drawOptions(seed, mutation));
  for (let round = 0; round < ROUNDS; round++) {
    cluster.faultsOn = true;
    cluster.clients.useOtherKeys();
    runFaults(cluster);
    runLiveness(cluster);
    checkLogMatching(cluster);
  }
  cluster.clients.check();
  return cluster;
}
