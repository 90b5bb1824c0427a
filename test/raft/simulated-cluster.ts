/**
 * A whole Raft cluster in one process from one seed: virtual time, a network that loses, repeats,
 * delays and partitions, disks that lose what was not flushed, crashes and restarts. Every step is
 * checked against Raft's safety properties; a violation throws. Flags break the shell's rules on
 * purpose, to show that the checks notice.
 */
import { createHash } from 'node:crypto';
import { RawNode } from '../../src/raft/raw-node.js';
import type {
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
  readonly mutation: Mutation;
}

const TICK_MS = 10;

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
  /** Hash over all applied entries: the state of the state machine. */
  state: string;
  persisting: boolean;
  /** Reads under way: context to the least index a correct answer may have. */
  readonly reads: Map<string, number>;
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
  readonly members = new Map<NodeId, Member>();
  /** Applied entries by index, as the first node applied them. */
  readonly canonical = new Map<number, { readonly entry: Entry; readonly state: string }>();
  readonly leaders = new Map<number, NodeId>();
  readonly blocked = new Set<string>();
  faultsOn = true;
  proposals = 0;
  answeredReads = 0;
  #maxApplied = 1;
  #reads = 0;

  constructor(options: ClusterOptions) {
    this.options = options;
    this.environment = simulatedEnvironment(options.seed);
    const voters = Array.from({ length: options.nodes }, (_, at) => at + 1);
    for (const id of voters) {
      this.#addMember(id, 1, { voters, learners: [] });
    }
    for (let at = 1; at <= options.spares; at++) {
      this.#addMember(options.nodes + at, 0, { voters: [], learners: [] });
    }
    for (const member of this.members.values()) {
      this.start(member);
      this.#tickLater(member);
    }
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
    const term = (member: Member): number => member.process?.raw.status().term ?? 0;
    return this.running
      .filter((member) => member.process?.raw.status().role === 'leader')
      .sort((a, b) => term(a) - term(b));
  }

  /** The configuration of whoever applied most. */
  get conf(): ConfState {
    let best: Process | undefined;
    for (const { process } of this.running) {
      if (process !== undefined && process.appliedIndex > (best?.appliedIndex ?? -1))
        best = process;
    }
    return best?.conf ?? { voters: [], learners: [] };
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
      inflightMessagesMax: this.random.integer(1, 8),
      messageBytesMax: this.random.integer(20, 400),
      applyBytesMax: this.random.integer(20, 400),
    });
    member.process = {
      raw,
      conf: disk.snapshot.conf,
      appliedIndex: disk.snapshot.index,
      state: Buffer.from(disk.snapshot.data ?? []).toString(),
      persisting: false,
      reads: new Map(),
    };
  }

  /** Ends the process at once; what it was writing is written in part. */
  crash(member: Member): void {
    member.process = undefined;
  }

  /** Proposes at a node that believes to lead. */
  propose(member: Member): void {
    const { process } = member;
    if (process === undefined) return;
    this.proposals += 1;
    const data = Buffer.from(`${this.proposals}:${'x'.repeat(this.random.integer(0, 40))}`);
    process.raw.propose(data);
    this.#pump(member);
  }

  /** Adds or removes a member, if a leader takes it. */
  changeMembership(nodeId: NodeId, kind: 'addVoter' | 'addLearner' | 'removeMember'): void {
    const leader = this.leading.at(-1);
    if (leader?.process === undefined) return;
    leader.process.raw.proposeConfChange({ kind, nodeId, context: new Uint8Array(0) });
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
    const context = `r${(this.#reads += 1)}`;
    process.reads.set(context, this.#maxApplied);
    process.raw.readIndex(context);
    this.#pump(member);
  }

  #addMember(id: NodeId, index: number, conf: ConfState): void {
    this.members.set(id, {
      id,
      disk: {
        hardState: { term: index, vote: 0, commit: index },
        snapshot: { index, term: index, conf, data: Buffer.from('') },
        entries: [],
      },
      process: undefined,
    });
  }

  #tickLater(member: Member): void {
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
    while (!process.persisting && process.raw.hasReady()) {
      const ready = process.raw.ready();
      for (const message of ready.messages) this.#send(message);
      for (const entry of ready.committedEntries) this.#apply(process, entry);
      for (const { context, index } of ready.readStates) this.#checkRead(process, context, index);
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
    process.persisting = true;
    const finish = (): void => {
      if (member.process !== process) {
        this.#writePart(member, ready);
        return;
      }
      this.#write(member, ready, process);
      if (this.options.mutation !== 'sendBeforePersist') {
        for (const message of ready.messagesAfterPersist) this.#send(message);
      }
      process.persisting = false;
      process.raw.advance();
      this.#pump(member);
    };
    const writes = ready.mustSync || ready.messagesAfterPersist.length > 0;
    if (writes) {
      this.environment.clock.setTimer(this.random.next() * this.options.persistMsMax, finish);
      return;
    }
    this.#write(member, ready, process);
    process.persisting = false;
    process.raw.advance();
  }

  #write(member: Member, ready: Ready, process: Process): void {
    const { disk } = member;
    if (ready.snapshot !== undefined) {
      disk.snapshot = ready.snapshot;
      disk.entries = [];
      process.conf = ready.snapshot.conf;
      process.appliedIndex = ready.snapshot.index;
      process.state = Buffer.from(ready.snapshot.data ?? []).toString();
      const canonical = this.canonical.get(ready.snapshot.index);
      check(
        canonical === undefined || canonical.state === process.state,
        `snapshot ${ready.snapshot.index} has another state`,
      );
    }
    writeEntries(disk, ready.entries);
    if (ready.hardState !== undefined) disk.hardState = ready.hardState;
  }

  /** The process died while writing: a part of the entries is there, the hard state is not. */
  #writePart(member: Member, ready: Ready): void {
    if (member.process !== undefined || ready.snapshot !== undefined) return;
    if (this.options.mutation === 'loseAcknowledgedTail') {
      member.disk.entries.splice(-this.random.integer(1, 3));
      return;
    }
    writeEntries(member.disk, ready.entries.slice(0, this.random.integer(0, ready.entries.length)));
  }

  #apply(process: Process, entry: Entry): void {
    check(entry.index === process.appliedIndex + 1, `applied ${entry.index} out of order`);
    process.appliedIndex = entry.index;
    process.state = createHash('sha1')
      .update(`${process.state}|${entry.term}|${entry.kind}|`)
      .update(entry.data)
      .digest('hex');
    const canonical = this.canonical.get(entry.index);
    if (canonical === undefined) {
      this.canonical.set(entry.index, { entry, state: process.state });
    } else {
      check(
        canonical.entry.term === entry.term && canonical.state === process.state,
        `state machines differ at ${entry.index}`,
      );
    }
    this.#maxApplied = Math.max(this.#maxApplied, entry.index);
    if (entry.kind === 'confChange') {
      process.conf = process.raw.applyConfChange(RawNode.confChangeOf(entry));
    }
  }

  #maybeSnapshot(member: Member, process: Process): void {
    const { disk } = member;
    if (process.appliedIndex - disk.snapshot.index < this.options.snapshotEvery) return;
    const term = process.raw.termAt(process.appliedIndex);
    if (term === undefined) return;
    const { appliedIndex: index, conf, state } = process;
    disk.snapshot = { index, term, conf, data: Buffer.from(state) };
    process.raw.compact(Math.max(0, process.raw.status().applied - this.random.integer(0, 5)));
  }

  #checkRead(process: Process, context: string, index: number): void {
    const least = process.reads.get(context);
    if (least === undefined) return;
    process.reads.delete(context);
    this.answeredReads += 1;
    check(index >= least, `read answered at ${index}, but ${least} was applied before it began`);
  }

  /** One leader a term, whose log holds everything applied anywhere in earlier terms. */
  #checkLeadership(member: Member, process: Process): void {
    const { role, term, lastIndex } = process.raw.status();
    if (role !== 'leader') return;
    const known = this.leaders.get(term);
    check(known === undefined || known === member.id, `two leaders in term ${term}`);
    if (known !== undefined) return;
    this.leaders.set(term, member.id);
    for (const [index, { entry }] of this.canonical) {
      if (entry.term >= term) continue;
      check(index <= lastIndex, `leader of term ${term} lacks entry ${index}`);
      const ours = process.raw.termAt(index);
      check(ours === undefined || ours === entry.term, `leader of ${term} has another ${index}`);
    }
  }

  #send(message: Message): void {
    const { random, options } = this;
    const copies = this.faultsOn && random.chance(options.repeatChance) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const lost = this.#isBlocked(message) || (this.faultsOn && random.chance(options.lossChance));
      const late = this.faultsOn && random.chance(0.05) ? 5 : 1;
      const delayMs = random.next() * options.delayMsMax * late;
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
