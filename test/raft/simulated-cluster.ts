/**
 * A whole Raft cluster in one process from one seed: virtual time, a network that loses, repeats,
 * delays and partitions, disks that lose what was not flushed, crashes and restarts. Every step is
 * checked against Raft's safety properties; a violation throws. Flags break the shell's rules on
 * purpose, to show that the checks notice.
 */
import { RawNode } from '../../src/raft/raw-node.js';
import type {
  ConfChange,
  ConfState,
  Entry,
  HardState,
  Message,
  NodeId,
  Ready,
  Snapshot,
} from '../../src/raft/types.js';
import {
  type SimulatedEnvironment,
  simulatedEnvironment,
} from '../support/simulated-environment.js';
import { ExpectedMembership } from './expected-membership.js';
import { ReplicatedMap } from './replicated-map.js';
import { ProcessCalls, SimulatedClients } from './simulated-clients.js';

/** Faults of the shell or of the disk that break Raft. */
export type Mutation = 'none' | 'sendBeforePersist' | 'forgetVote' | 'loseAcknowledgedTail';

/** What a run draws from. */
export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Nodes that may be added later. */
  readonly spares: number;
  readonly lossChance: number;
  readonly repeatChance: number;
  readonly delayMsMax: number;
  readonly persistMsMax: number;
  readonly snapshotEvery: number;
  readonly electionTicks: number;
  /** Of a node to die around the time its vote is written, and to be back soon. */
  readonly voteCrashChance: number;
  /** Of a leader to be cut off the moment it is elected, or to die soon after. */
  readonly leaderCutChance: number;
  readonly mutation: Mutation;
}

const TICK_MS = 10;
/** Longest a message or a write takes once faults are over: well below the shortest election. */
const HEALED_MS = 10;

interface Disk {
  hardState: HardState;
  snapshot: Snapshot;
  entries: Entry[];
}

/** A process of a member: gone with a crash, while its disk stays. */
interface Process {
  readonly raw: RawNode;
  conf: ConfState;
  appliedIndex: number;
  map: ReplicatedMap;
  /** What is being written. */
  persisting: Ready | undefined;
  /** Disks are not equally slow. */
  readonly persistMsMax: number;
  readonly calls: ProcessCalls;
}

/** One member: a disk and perhaps a running process. */
export interface Member {
  readonly id: NodeId;
  readonly disk: Disk;
  process: Process | undefined;
}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`safety violated: ${what}`);
}

/** See the file's head. */
export class SimulatedCluster {
  readonly options: ClusterOptions;
  readonly environment: SimulatedEnvironment;
  readonly clients: SimulatedClients;
  readonly members = new Map<NodeId, Member>();
  /** Applied entries by index, as the first node applied them. */
  readonly canonical = new Map<number, { readonly entry: Entry; readonly state: string }>();
  readonly leaders = new Map<number, NodeId>();
  /** The members as of the last applied entry, worked out here and not by the core. */
  #membership: ExpectedMembership;
  /** The same as of each membership change, by index, as text. */
  readonly #confs = new Map<number, string>();
  /** Joint configurations that were entered. */
  jointChanges = 0;
  readonly blocked = new Set<string>();
  faultsOn = true;
  /** Where the last membership change was put. */
  #changedAt = 0;
  #lastId = 0;

  constructor(options: ClusterOptions) {
    this.options = options;
    this.environment = simulatedEnvironment(options.seed);
    this.clients = new SimulatedClients(this.environment.random);
    const voters = Array.from({ length: options.nodes }, (_, at) => at + 1);
    this.#membership = ExpectedMembership.ofVoters(voters);
    for (const id of voters) {
      this.#addMember(id, 1, { voters, learners: [] });
    }
    for (let at = 1; at <= options.spares; at++) this.#addNewcomer();
    for (const member of this.members.values()) this.start(member);
  }

  get random(): SimulatedEnvironment['random'] {
    return this.environment.random;
  }

  /** Runs for a virtual duration. */
  run(durationMs: number): void {
    this.environment.clock.advance(durationMs);
  }

  member(id: NodeId): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${id}`);
    return member;
  }

  /** Members whose process runs. */
  get running(): readonly Member[] {
    return [...this.members.values()].filter((member) => member.process !== undefined);
  }

  /** Running nodes that believe to lead, highest term last. */
  get leading(): readonly Member[] {
    const term = (member: Member): number => member.process?.raw.term ?? 0;
    return this.running
      .filter((member) => member.process?.raw.role === 'leader')
      .sort((a, b) => term(a) - term(b));
  }

  get conf(): ConfState {
    return this.#membership.conf;
  }

  /** Voters, in a joint configuration of both halves, that have not lost their disk. */
  get voters(): readonly NodeId[] {
    const { voters, joint } = this.conf;
    const all = new Set([...voters, ...(joint?.outgoing ?? [])]);
    return [...all].filter((id) => this.members.has(id));
  }

  /** Whether a membership change may still come that is not applied anywhere. */
  get isChanging(): boolean {
    return !this.canonical.has(this.#changedAt) && this.#changedAt > 0;
  }

  /** Whether these can decide, in both halves of a joint configuration. */
  isQuorum(ids: readonly NodeId[]): boolean {
    const { voters, joint } = this.conf;
    return [voters, joint?.outgoing ?? voters].every(
      (half) => half.filter((id) => ids.includes(id)).length > half.length / 2,
    );
  }

  /** The running nodes' states, for messages about failures. */
  describe(): string {
    return this.running
      .map(({ id, process }) => {
        const status = process?.raw.status();
        return `\n${id}: ${JSON.stringify({ ...status, progress: [...(status?.progress ?? [])] })}`;
      })
      .join('');
  }

  start(member: Member): void {
    const { disk } = member;
    const hardState =
      this.options.mutation === 'forgetVote' ? { ...disk.hardState, vote: 0 } : disk.hardState;
    const raw = new RawNode({
      id: member.id,
      stored: {
        hardState,
        snapshot: disk.snapshot,
        entries: disk.entries.filter((entry) => entry.index > disk.snapshot.index),
      },
      random: this.random.fork(),
      latestSnapshot: () => (disk.snapshot.index === 0 ? undefined : disk.snapshot),
      electionTicks: this.options.electionTicks,
      inflightMessagesMax: this.random.integer(1, 8),
      messageBytesMax: this.random.pick([20, 60, 400]),
      applyBytesMax: this.random.integer(20, 400),
    });
    member.process = {
      raw,
      conf: disk.snapshot.conf,
      appliedIndex: disk.snapshot.index,
      map: new ReplicatedMap(disk.snapshot.data),
      persisting: undefined,
      persistMsMax: this.random.pick([0.02, 0.2, 1]) * this.options.persistMsMax,
      calls: new ProcessCalls(),
    };
  }

  /** Ends the process at once; what it was writing is written in part. */
  crash(member: Member): void {
    const { process } = member;
    member.process = undefined;
    if (process !== undefined) this.clients.abandoned(process.calls);
    const ready = process?.persisting;
    if (ready !== undefined) this.#writePart(member, ready);
  }

  /** Whether there is a leader and all voters have applied all there is. */
  get isSettled(): boolean {
    if (this.leading.length === 0) return false;
    const last = Math.max(...this.canonical.keys());
    return this.voters.every((id) => {
      const { process } = this.member(id);
      return process?.appliedIndex === last && process.raw.lastIndex === last;
    });
  }

  /** Joins a member with all others again. */
  join(id: NodeId): void {
    for (const pair of this.blocked) {
      const [from, to] = pair.split('>').map(Number);
      if (from === id || to === id) this.blocked.delete(pair);
    }
  }

  /**
   * Two voters of which one has the better log and the other a term at least two ahead: each has
   * something the other one needs in order to elect a leader without a third.
   */
  unequalVoters(): readonly NodeId[] {
    const disks = this.voters.map((id) => ({ id, ...this.member(id).disk }));
    for (const low of disks) {
      for (const high of disks) {
        const isAhead = high.hardState.term >= low.hardState.term + 2;
        if (isAhead && isBetterLog(low, high)) return [low.id, high.id];
      }
    }
    return [];
  }

  /** Cuts these off from those, in both directions. */
  part(these: readonly NodeId[], those: readonly NodeId[]): void {
    for (const a of these) {
      for (const b of those) {
        this.blocked.add(`${a}>${b}`);
        this.blocked.add(`${b}>${a}`);
      }
    }
  }

  /** Cuts a member off from all others. */
  isolate(id: NodeId): void {
    for (const other of this.members.keys()) {
      if (other === id) continue;
      this.blocked.add(`${id}>${other}`);
      this.blocked.add(`${other}>${id}`);
    }
  }

  /** The member's disk is gone, and with it the member: a new one with nothing on its disk comes. */
  loseDisk(member: Member): void {
    this.crash(member);
    this.members.delete(member.id);
    this.start(this.#addNewcomer());
  }

  /** A client proposes at a node that believes to lead. */
  propose(member: Member): void {
    const { process } = member;
    if (process === undefined) return;
    this.clients.update(process.calls, process.map, (data) => process.raw.propose(data));
    this.#pump(member);
  }

  /** Changes the membership, if a leader takes it. */
  changeMembership(change: ConfChange): void {
    const leader = this.leading.at(-1);
    if (leader?.process === undefined) return;
    const result = leader.process.raw.proposeConfChange(change);
    if (result.kind === 'accepted') this.#changedAt = Math.max(this.#changedAt, result.index);
    this.#pump(leader);
  }

  transfer(to: NodeId): void {
    const leader = this.leading.at(-1);
    leader?.process?.raw.transferLeader(to);
    if (leader !== undefined) this.#pump(leader);
  }

  /** Asks any node for a linearizable read. */
  read(member: Member): void {
    const { process } = member;
    if (process === undefined) return;
    process.raw.readIndex(this.clients.read(process.calls));
    this.#pump(member);
  }

  /** One that is no member yet, under an id that nobody had. */
  #addNewcomer(): Member {
    this.#lastId = Math.max(this.#lastId, this.options.nodes) + 1;
    return this.#addMember(this.#lastId, 0, { voters: [], learners: [] });
  }

  #addMember(id: NodeId, index: number, conf: ConfState): Member {
    const member: Member = {
      id,
      disk: {
        hardState: { term: index, vote: 0, commit: index },
        snapshot: { index, term: index, conf, data: Buffer.from('') },
        entries: [],
      },
      process: undefined,
    };
    this.members.set(id, member);
    this.#tickLater(member);
    return member;
  }

  #tickLater(member: Member): void {
    if (this.members.get(member.id) !== member) return;
    // Clocks differ by some percent and now and then stand still for a while.
    const pause = this.faultsOn && this.random.chance(0.002) ? this.random.integer(50, 300) : 0;
    this.environment.clock.setTimer(TICK_MS + this.random.next() + pause, () => {
      member.process?.raw.tick();
      this.#pump(member);
      this.#tickLater(member);
    });
  }

  #pump(member: Member): void {
    const { process } = member;
    if (process === undefined) return;
    while (process.persisting === undefined && process.raw.hasReady()) {
      const ready = process.raw.ready();
      for (const message of ready.messages) this.#send(message);
      for (const entry of ready.committedEntries) this.#apply(process, entry);
      for (const { context, index } of ready.readStates) {
        this.clients.confirmed(process.calls, context, index);
      }
      this.clients.answerReads(process.calls, process.map, process.appliedIndex);
      if (this.options.mutation === 'sendBeforePersist') {
        for (const message of ready.messagesAfterPersist) this.#send(message);
      }
      this.#maybeSnapshot(member, process);
      this.#persist(member, process, ready);
    }
    for (const message of process.raw.takeMessages()) this.#send(message);
    this.#checkLeadership(member, process);
  }

  #persist(member: Member, process: Process, ready: Ready): void {
    process.persisting = ready;
    const finish = (): void => {
      if (member.process !== process) return;
      this.#write(member, ready, process);
      if (this.options.mutation !== 'sendBeforePersist') {
        for (const message of ready.messagesAfterPersist) this.#send(message);
      }
      process.persisting = undefined;
      process.raw.advance();
      this.#pump(member);
    };
    const writes = ready.mustSync || ready.messagesAfterPersist.length > 0;
    if (writes) {
      this.environment.clock.setTimer(this.#atMost(process.persistMsMax), finish);
      this.#maybeCrashVoter(member, process, ready);
      return;
    }
    this.#write(member, ready, process);
    process.persisting = undefined;
    process.raw.advance();
  }

  #atMost(limitMs: number): number {
    return this.random.next() * (this.faultsOn ? limitMs : Math.min(limitMs, HEALED_MS));
  }

  #maybeCrashVoter(member: Member, process: Process, ready: Ready): void {
    const { random, options, environment } = this;
    const votes = ready.hardState !== undefined && ready.hardState.vote !== 0;
    if (!votes || ready.hardState?.term === member.disk.hardState.term) return;
    if (!this.faultsOn || !random.chance(options.voteCrashChance)) return;
    const crashMs = random.next() * (process.persistMsMax + options.delayMsMax);
    environment.clock.setTimer(crashMs, () => {
      if (member.process !== process) return;
      this.crash(member);
      environment.clock.setTimer(random.next() * TICK_MS, () => {
        const isHere = this.members.get(member.id) === member;
        if (isHere && member.process === undefined) this.start(member);
      });
    });
  }

  #write(member: Member, ready: Ready, process: Process): void {
    const { disk } = member;
    if (ready.snapshot !== undefined) {
      disk.snapshot = ready.snapshot;
      disk.entries = [];
      process.conf = ready.snapshot.conf;
      process.appliedIndex = ready.snapshot.index;
      process.map = new ReplicatedMap(ready.snapshot.data);
      this.clients.jumped(process.calls, ready.snapshot.index);
      const canonical = this.canonical.get(ready.snapshot.index);
      check(
        canonical === undefined || canonical.state === process.map.hash,
        `snapshot ${ready.snapshot.index} has another state`,
      );
    }
    writeEntries(disk, ready.entries);
    if (ready.hardState !== undefined) disk.hardState = ready.hardState;
  }

  /** The process died while writing: a part of the entries is there, the hard state is not. */
  #writePart(member: Member, ready: Ready): void {
    if (ready.snapshot !== undefined) return;
    if (this.options.mutation === 'loseAcknowledgedTail') {
      member.disk.entries.splice(-this.random.integer(1, 3));
      return;
    }
    writeEntries(member.disk, ready.entries.slice(0, this.random.integer(0, ready.entries.length)));
  }

  #apply(process: Process, entry: Entry): void {
    check(entry.index === process.appliedIndex + 1, `applied ${entry.index} out of order`);
    process.appliedIndex = entry.index;
    const swapped = process.map.apply(entry);
    const state = process.map.hash;
    this.clients.applied(process.calls, entry, swapped);
    const canonical = this.canonical.get(entry.index);
    if (canonical === undefined) {
      this.canonical.set(entry.index, { entry, state });
      if (entry.kind === 'confChange') {
        const wasJoint = this.conf.joint !== undefined;
        this.#membership = this.#membership.after(RawNode.confChangeOf(entry));
        if (!wasJoint && this.conf.joint !== undefined) this.jointChanges += 1;
        this.#confs.set(entry.index, JSON.stringify(this.conf));
      }
    } else {
      check(
        canonical.entry.term === entry.term && canonical.state === state,
        `state machines differ at ${entry.index}`,
      );
    }
    if (entry.kind === 'confChange') {
      process.conf = process.raw.applyConfChange(RawNode.confChangeOf(entry));
      const text = JSON.stringify(process.conf);
      check(text === this.#confs.get(entry.index), `members differ at ${entry.index}: ${text}`);
    }
  }

  #maybeSnapshot(member: Member, process: Process): void {
    const { disk } = member;
    if (process.appliedIndex - disk.snapshot.index < this.options.snapshotEvery) return;
    const term = process.raw.termAt(process.appliedIndex);
    if (term === undefined) return;
    const { appliedIndex: index, conf, map } = process;
    disk.snapshot = { index, term, conf, data: map.snapshot() };
    process.raw.compact(Math.max(0, process.raw.status().applied - this.random.integer(0, 5)));
  }

  /** One leader a term, whose log holds everything applied anywhere in earlier terms. */
  #checkLeadership(member: Member, process: Process): void {
    const { role, term, lastIndex } = process.raw;
    if (role !== 'leader') return;
    const { voters, joint } = process.conf;
    const votes = voters.includes(member.id) || joint?.outgoing.includes(member.id) === true;
    check(votes, `${member.id} leads without a vote`);
    const known = this.leaders.get(term);
    check(known === undefined || known === member.id, `two leaders in term ${term}`);
    if (known !== undefined) return;
    this.leaders.set(term, member.id);
    this.#maybeCutLeader(member, process);
    for (const [index, { entry }] of this.canonical) {
      if (entry.term >= term) continue;
      check(index <= lastIndex, `leader of term ${term} lacks entry ${index}`);
      const ours = process.raw.termAt(index);
      check(ours === undefined || ours === entry.term, `leader of ${term} has another ${index}`);
    }
  }

  #maybeCutLeader(member: Member, process: Process): void {
    const { random, options, environment } = this;
    if (!this.faultsOn || !random.chance(options.leaderCutChance)) return;
    if (random.chance(0.5)) {
      this.isolate(member.id);
      return;
    }
    const livesMs = random.next() * (process.persistMsMax + 2 * options.delayMsMax);
    environment.clock.setTimer(livesMs, () => {
      if (member.process === process && this.faultsOn) this.crash(member);
    });
  }

  #send(message: Message): void {
    const { random, options } = this;
    const copies = this.faultsOn && random.chance(options.repeatChance) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const lost = this.#isBlocked(message) || (this.faultsOn && random.chance(options.lossChance));
      const late = this.faultsOn && random.chance(0.05) ? 5 : 1;
      const delayMs = this.#atMost(options.delayMsMax) * late;
      this.environment.clock.setTimer(delayMs, () => {
        const arrived = !lost && this.#deliver(message);
        if (message.type === 'snapshot') this.#reportSnapshot(message, arrived);
      });
    }
  }

  #isBlocked(message: Message): boolean {
    return this.blocked.has(`${message.from}>${message.to}`);
  }

  #deliver(message: Message): boolean {
    const member = this.members.get(message.to);
    if (member?.process === undefined || this.#isBlocked(message)) return false;
    member.process.raw.step(message);
    this.#pump(member);
    return true;
  }

  /** A sender hears what became of a snapshot, sometimes wrongly that it was lost. */
  #reportSnapshot(message: Message, arrived: boolean): void {
    const sender = this.members.get(message.from);
    if (sender?.process === undefined) return;
    sender.process.raw.reportSnapshot(message.to, arrived && this.random.chance(0.8));
    this.#pump(sender);
  }
}

function isBetterLog(a: Disk, b: Disk): boolean {
  const [lastA, lastB] = [a, b].map(({ entries, snapshot }) => entries.at(-1) ?? snapshot);
  if (lastA === undefined || lastB === undefined) return false;
  return lastA.term > lastB.term || (lastA.term === lastB.term && lastA.index > lastB.index);
}

/** Entries replace what is stored from their first index on. */
function writeEntries(disk: Disk, entries: readonly Entry[]): void {
  const first = entries[0];
  if (first === undefined) return;
  disk.entries = [...disk.entries.filter((entry) => entry.index < first.index), ...entries];
}

/** Log matching: where two disks have the same term at an index, all before is the same. */
export function checkLogMatching(cluster: SimulatedCluster): void {
  const members = [...cluster.members.values()];
  for (const a of members) {
    for (const b of members) {
      if (a.id >= b.id) continue;
      const other = new Map(b.disk.entries.map((entry) => [entry.index, entry]));
      let agreed = false;
      for (const entry of [...a.disk.entries].reverse()) {
        const twin = other.get(entry.index);
        if (twin === undefined) continue;
        const same = twin.term === entry.term;
        check(same || !agreed, `logs of ${a.id} and ${b.id} part below an equal entry`);
        if (same) check(Buffer.compare(twin.data, entry.data) === 0, 'equal entries differ');
        agreed ||= same;
      }
    }
  }
}
