/**
 * Clients of a simulated cluster: they write, compare and set, and read through ReadIndex, at
 * whatever member, and note what they were answered and when. The history of a run must be linearizable.
 */
import type { ProposeResult } from '../../src/raft/types.js';
import {
  checkLinearizable,
  describeVerdict,
  NEVER,
  type Operation,
} from '../support/linearizability.js';
import type { SeededRandom } from '../support/simulated-environment.js';
import { encodeUpdate, type ReplicatedMap, type Update } from './replicated-map.js';

/** Keys in use at a time: few, so that clients meet. */
const KEYS = 3;
/** Of an answer to get lost on its way to the client. */
const ANSWER_LOSS_CHANCE = 0.05;

interface OpenUpdate {
  readonly update: Update;
  readonly client: string;
  readonly calledAt: number;
  readonly term: number;
}

interface OpenRead {
  readonly calledAt: number;
  /** Undefined until the leader has answered. */
  index: number | undefined;
}

/** What the clients of one process wait for; gone with it. */
export class ProcessCalls {
  /** By the index of their entries. */
  readonly updates = new Map<number, OpenUpdate>();
  /** By the context of their requests. */
  readonly reads = new Map<string, OpenRead>();
}

/** See the file's head. */
export class SimulatedClients {
  readonly #random: SeededRandom;
  readonly #history: Operation[] = [];
  #epoch = 0;
  #calls = 0;
  #moment = 0;
  #answeredReads = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  get answeredReads(): number {
    return this.#answeredReads;
  }

  /** From now on other keys are used, so that histories stay short. */
  useOtherKeys(): void {
    this.#epoch += 1;
  }

  /** Proposes an update by `propose`, of a value that nobody wrote before. */
  update(
    calls: ProcessCalls,
    map: ReplicatedMap,
    propose: (data: Uint8Array) => ProposeResult,
  ): void {
    const random = this.#random;
    const key = random.pick(this.#keys);
    const value = String((this.#calls += 1));
    const expected = { value: random.chance(0.9) ? map.get(key) : undefined };
    const update = random.chance(0.4) ? { key, value, expected } : { key, value };
    const calledAt = this.#now();
    const result = propose(encodeUpdate(update, random.integer(0, 36)));
    // Refused: nothing can come of it.
    if (result.kind === 'dropped') return;
    const { index, term } = result;
    const former = calls.updates.get(index);
    if (former !== undefined) this.#lost(former);
    calls.updates.set(index, { update, client: `c${value}`, calledAt, term });
  }

  /** An entry was applied to the map of the process that it was proposed at. */
  applied(calls: ProcessCalls, at: { index: number; term: number }, swapped: boolean): void {
    const call = calls.updates.get(at.index);
    if (call === undefined) return;
    calls.updates.delete(at.index);
    // Another entry took the place: this one never comes.
    if (call.term !== at.term) return;
    if (this.#random.chance(ANSWER_LOSS_CHANCE)) {
      this.#lost(call);
      return;
    }
    const { update, client, calledAt } = call;
    const { key, value, expected } = update;
    const span = { client, key, calledAt, answeredAt: this.#now() };
    if (expected === undefined) this.#history.push({ ...span, kind: 'write', value });
    else {
      const asked = expected.value;
      this.#history.push({ ...span, kind: 'compareAndSet', expected: asked, value, swapped });
    }
  }

  /** A snapshot took the place of all entries up to `index`. */
  jumped(calls: ProcessCalls, index: number): void {
    for (const [at, call] of calls.updates) {
      if (at > index) continue;
      calls.updates.delete(at);
      this.#lost(call);
    }
  }

  /** The process is no more: nobody will answer. */
  abandoned(calls: ProcessCalls): void {
    for (const call of calls.updates.values()) this.#lost(call);
    calls.updates.clear();
    calls.reads.clear();
  }

  /** Begins a read; returns the context to ask with. */
  read(calls: ProcessCalls): string {
    const context = `r${(this.#calls += 1)}`;
    calls.reads.set(context, { calledAt: this.#now(), index: undefined });
    return context;
  }

  /** The leader has answered a read. */
  confirmed(calls: ProcessCalls, context: string, index: number): void {
    const read = calls.reads.get(context);
    if (read !== undefined) read.index = index;
  }

  /** Answers the reads that `appliedIndex` is far enough for; each reads all keys at once. */
  answerReads(calls: ProcessCalls, map: ReplicatedMap, appliedIndex: number): void {
    for (const [client, { calledAt, index }] of calls.reads) {
      if (index === undefined || index > appliedIndex) continue;
      calls.reads.delete(client);
      this.#answeredReads += 1;
      const answeredAt = this.#now();
      for (const key of this.#keys) {
        const span = { client, key, calledAt, answeredAt };
        this.#history.push({ ...span, kind: 'read', value: map.get(key) });
      }
    }
  }

  /** @throws Error that says what no store could have answered. */
  check(): void {
    const verdict = checkLinearizable(this.#history);
    if (verdict.kind === 'linearizable') return;
    throw new Error(`safety violated: not linearizable: ${describeVerdict(verdict)}`);
  }

  get #keys(): readonly string[] {
    return Array.from({ length: KEYS }, (_, at) => `${this.#epoch}${'abc'[at] ?? at}`);
  }

  #lost({ update, client, calledAt }: OpenUpdate): void {
    const { key, value, expected } = update;
    const span = { client, key, calledAt, answeredAt: NEVER };
    if (expected === undefined) this.#history.push({ ...span, kind: 'write', value });
    else {
      const asked = expected.value;
      this.#history.push({
        ...span,
        kind: 'compareAndSet',
        expected: asked,
        value,
        swapped: undefined,
      });
    }
  }

  #now(): number {
    return (this.#moment += 1);
  }
}
