/**
 * Runs scenario files: commands to a few nodes, each followed by the trace it leaves. Everything
 * happens when a command says so: messages wait until they are delivered or lost, what is to be
 * written until the node works. Node n waits n - 1 ticks longer for its leader than node 1.
 *
 * A line that begins with `>` is a command, indented lines below it are its trace, all others are
 * remarks. Commands (IDS is `1,2`; FILTER any of `from=1 to=2 type=append,vote`, none for all):
 *   cluster IDS [learners=IDS] [log.1=TERMS] [OPTION=NUMBER]   voters, entries from index 2 on
 *   node ID                           one with nothing on its disk
 *   tick ID [COUNT], campaign ID, propose ID TEXT, read ID NAME, transfer ID TO
 *   change ID +4|~4|-4, joint ID auto|implicit|explicit +4 ~3 -1, leave ID
 *   work [IDS]                        does all that is to be done, but for delivering
 *   begin ID, end ID                  what is to be done is begun, and written and sent after that
 *   deliver [FILTER], lose [FILTER]   the messages that wait now
 *   settle [IDS]                      works and delivers among these (all) until nothing moves
 *   compact ID, restart ID, unreachable ID OF, snapshot ID OF arrived|failed
 *   status [IDS], log ID
 * `silently COMMAND` leaves no trace.
 */
import { RawNode } from '../../src/raft/raw-node.js';
import type {
  ConfChange,
  ConfState,
  Entry,
  HardState,
  MemberChange,
  Message,
  NodeId,
  ProposeResult,
  Ready,
  Snapshot,
} from '../../src/raft/types.js';
import { describeEntry, describeMessage, describeReady, describeStatus } from './scenario-trace.js';

const EMPTY = new Uint8Array(0);
const SETTLE_ROUNDS_MAX = 100;

interface ScenarioNode {
  raw: RawNode;
  hardState: HardState;
  snapshot: Snapshot;
  entries: Entry[];
  conf: ConfState;
  applied: number;
  /** What is being written. */
  writing: Ready | undefined;
}

/** See the file's head. */
export class ScenarioRunner {
  readonly #nodes = new Map<NodeId, ScenarioNode>();
  readonly #options: Record<string, number> = {};
  /** Messages on their way. */
  #waiting: Message[] = [];
  #trace: string[] = [];

  /** Runs a command; returns its trace. */
  run(line: string): readonly string[] {
    this.#trace = [];
    const [name = '', ...args] = line.split(/ +/);
    if (name !== 'silently') this.#command(name, args);
    else {
      const [command = '', ...rest] = args;
      this.#command(command, rest);
      this.#trace = [];
    }
    return this.#trace;
  }

  #command(name: string, args: readonly string[]): void {
    const [first = '', second = ''] = args;
    switch (name) {
      case 'cluster':
        this.#cluster(first, args.slice(1));
        return;
      case 'node':
        this.#add(Number(first), 0, { voters: [], learners: [] }, []);
        return;
      case 'work':
        this.#work(this.#those(first));
        return;
      case 'deliver':
        this.#deliver(this.#take(args));
        return;
      case 'lose':
        for (const message of this.#take(args)) this.#say(`lost: ${describeMessage(message)}`);
        return;
      case 'settle':
        this.#settle(this.#those(first));
        return;
      case 'status':
        for (const id of this.#those(first)) {
          for (const line of describeStatus(this.#node(id).raw.status())) this.#say(line);
        }
        return;
      default:
        this.#ask(name, Number(first), second, args.slice(1));
    }
  }

  /** Commands to one node. */
  #ask(name: string, id: NodeId, argument: string, args: readonly string[]): void {
    const node = this.#node(id);
    const { raw } = node;
    switch (name) {
      case 'tick':
        for (let count = Number(argument || 1); count > 0; count--) raw.tick();
        return;
      case 'campaign':
        raw.campaign();
        return;
      case 'propose':
        this.#result(raw.propose(Buffer.from(argument)));
        return;
      case 'read':
        if (!raw.readIndex(argument)) this.#say('refused: nobody to ask');
        return;
      case 'transfer':
        raw.transferLeader(Number(argument));
        return;
      case 'change':
      case 'joint':
      case 'leave':
        this.#result(raw.proposeConfChange(changeOf(name, args)));
        return;
      case 'begin':
        this.#begin(id, node);
        return;
      case 'end':
        this.#end(id, node);
        return;
      case 'compact':
        this.#compact(node);
        return;
      case 'restart':
        node.raw = this.#newNode(id, node);
        node.writing = undefined;
        node.applied = node.snapshot.index;
        node.conf = node.snapshot.conf;
        return;
      case 'unreachable':
        raw.reportUnreachable(Number(argument));
        return;
      case 'snapshot':
        raw.reportSnapshot(Number(argument), args[1] === 'arrived');
        return;
      case 'log':
        this.#say(node.entries.map(describeEntry).join(' '));
        return;
      default:
        throw new Error(`no such command: ${name}`);
    }
  }

  #cluster(voters: string, options: readonly string[]): void {
    const named = new Map(options.map((option) => option.split('=') as [string, string]));
    for (const [name, value] of named) {
      if (!/^learners$|^log\./.test(name)) this.#options[name] = Number(value);
    }
    const conf = { voters: ids(voters), learners: ids(named.get('learners') ?? '') };
    for (const id of [...conf.voters, ...conf.learners]) {
      const terms = ids(named.get(`log.${id}`) ?? '');
      const entries = terms.map((term, at): Entry => {
        return { index: at + 2, term, kind: 'normal', data: EMPTY };
      });
      this.#add(id, 1, conf, entries);
    }
  }

  #add(id: NodeId, index: number, conf: ConfState, entries: Entry[]): void {
    const term = entries.at(-1)?.term ?? index;
    const disk = {
      hardState: { term, vote: 0, commit: index },
      snapshot: { index, term: index, conf, data: EMPTY },
      entries,
      conf,
      applied: index,
      writing: undefined,
    };
    this.#nodes.set(id, { ...disk, raw: this.#newNode(id, disk) });
  }

  #newNode(id: NodeId, disk: Omit<ScenarioNode, 'raw'>): RawNode {
    const { hardState, snapshot, entries } = disk;
    return new RawNode({
      ...this.#options,
      id,
      stored: {
        hardState,
        snapshot,
        entries: entries.filter((entry) => entry.index > snapshot.index),
      },
      random: { next: () => ((id - 1) % 10) / 10, bytes: (length) => new Uint8Array(length) },
      latestSnapshot: () => this.#nodes.get(id)?.snapshot,
    });
  }

  #work(those: readonly NodeId[]): boolean {
    let worked = false;
    for (const id of those) {
      const node = this.#node(id);
      while (node.writing === undefined && node.raw.hasReady()) {
        this.#begin(id, node);
        this.#end(id, node);
        worked = true;
      }
      this.#post(node.raw.takeMessages());
    }
    return worked;
  }

  #begin(id: NodeId, node: ScenarioNode): void {
    if (node.writing !== undefined) {
      // Nothing of this rests on what is being written.
      this.#post(node.raw.takeMessages());
      return;
    }
    if (!node.raw.hasReady()) return;
    const ready = node.raw.ready();
    for (const line of describeReady(id, ready)) this.#say(line);
    this.#post(ready.messages);
    for (const entry of ready.committedEntries) {
      node.applied = entry.index;
      if (entry.kind !== 'confChange') continue;
      node.conf = node.raw.applyConfChange(RawNode.confChangeOf(entry));
    }
    node.writing = ready;
  }

  #end(id: NodeId, node: ScenarioNode): void {
    const ready = node.writing;
    if (ready === undefined) throw new Error(`${id} writes nothing`);
    node.writing = undefined;
    const { snapshot, entries, hardState } = ready;
    if (snapshot !== undefined) {
      Object.assign(node, { snapshot, entries: [], conf: snapshot.conf, applied: snapshot.index });
    }
    const from = entries[0]?.index ?? Infinity;
    node.entries = [...node.entries.filter((entry) => entry.index < from), ...entries];
    node.hardState = hardState ?? node.hardState;
    this.#post(ready.messagesAfterPersist);
    node.raw.advance();
  }

  #compact(node: ScenarioNode): void {
    const { applied: index, conf } = node;
    const term = node.raw.termAt(index);
    if (term === undefined) throw new Error('what is applied is in the log');
    node.snapshot = { index, term, conf, data: EMPTY };
    node.raw.compact(index);
  }

  #settle(those: readonly NodeId[]): void {
    for (let round = 0; round < SETTLE_ROUNDS_MAX; round++) {
      const worked = this.#work(those);
      const moving = this.#waiting.filter(
        ({ from, to }) => those.includes(from) && those.includes(to),
      );
      this.#waiting = this.#waiting.filter((message) => !moving.includes(message));
      for (const message of moving) this.#nodes.get(message.to)?.raw.step(message);
      if (!worked && moving.length === 0) return;
    }
    throw new Error('does not settle');
  }

  #deliver(messages: readonly Message[]): void {
    for (const message of messages) {
      this.#say(`arrives: ${describeMessage(message)}`);
      this.#nodes.get(message.to)?.raw.step(message);
    }
  }

  /** Takes the waiting messages that a filter names. */
  #take(filter: readonly string[]): readonly Message[] {
    const wanted = filter.map((one) => one.split('=') as [keyof Message, string]);
    const taken = this.#waiting.filter((message) =>
      wanted.every(([field, values]) => values.split(',').includes(String(message[field]))),
    );
    this.#waiting = this.#waiting.filter((message) => !taken.includes(message));
    return taken;
  }

  #post(messages: readonly Message[]): void {
    for (const message of messages) this.#say(describeMessage(message));
    this.#waiting.push(...messages);
  }

  #result(result: ProposeResult): void {
    if (result.kind === 'dropped') this.#say(`refused: ${result.reason}`);
    else this.#say(`taken as ${result.index}/${result.term}`);
  }

  #those(list: string): readonly NodeId[] {
    return list === '' ? [...this.#nodes.keys()] : ids(list);
  }

  #node(id: NodeId): ScenarioNode {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    return node;
  }

  #say(line: string): void {
    this.#trace.push(line);
  }
}

function ids(list: string): number[] {
  return list === '' ? [] : list.split(',').map(Number);
}

const KINDS = { '+': 'addVoter', '~': 'addLearner', '-': 'removeMember' } as const;

function changeOf(name: 'change' | 'joint' | 'leave', args: readonly string[]): ConfChange {
  if (name === 'leave') return { kind: 'leaveJoint' };
  const [transition] = args;
  const changes = (name === 'joint' ? args.slice(1) : args).map((text): MemberChange => {
    const kind = KINDS[text.charAt(0) as keyof typeof KINDS];
    return { kind, nodeId: Number(text.slice(1)), context: EMPTY };
  });
  const [only] = changes;
  if (name === 'change' && only !== undefined) return only;
  return { kind: 'joint', transition: transition as 'auto' | 'implicit' | 'explicit', changes };
}
