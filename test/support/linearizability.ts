/**
 * Whether a history of concurrent operations on a store could have come from a store that does them
 * one at a time, each at some moment between its call and its answer (Herlihy and Wing). Keys are
 * independent, so each is searched alone: Wing and Gong's search, with Lowe's memory of states
 * that were seen. An operation whose answer was lost may have happened at any time after its call, or never.
 */

/** What a key holds; undefined when nothing was ever written. */
export type Value = string | undefined;

interface Span {
  /** Who called, for messages. */
  readonly client: string;
  readonly key: string;
  /** Moments of one clock, on which no two events coincide. */
  readonly calledAt: number;
  /** {@link NEVER} when the answer was lost. */
  readonly answeredAt: number;
}

/** Of an answer that never came. */
export const NEVER = Number.POSITIVE_INFINITY;

/** One operation with its outcome. Those that surely did nothing are left out of a history. */
export type Operation = Span &
  (
    | { readonly kind: 'write'; readonly value: string }
    | {
        readonly kind: 'compareAndSet';
        readonly expected: Value;
        readonly value: string;
        /** Undefined when the answer was lost. */
        readonly swapped: boolean | undefined;
      }
    /** A read without an answer says nothing and is left out. */
    | { readonly kind: 'read'; readonly value: Value }
  );

/** What came of a search. */
export type Verdict =
  | { readonly kind: 'linearizable' }
  | {
      readonly kind: 'violated';
      readonly key: string;
      /** The longest beginning that a store could have done, in its order. */
      readonly prefix: readonly Operation[];
      /** What had to come next and could not. */
      readonly stuck: Operation;
    }
  /** The search was given up. */
  | { readonly kind: 'undecided'; readonly key: string };

/** Steps of a search until it is given up; a key's history of the simulator takes some hundred. */
const STEPS_MAX = 2_000_000;

/** Searches all keys; the first that is not linearizable decides. */
export function checkLinearizable(
  history: readonly Operation[],
  stepsMax: number = STEPS_MAX,
): Verdict {
  let undecided: Verdict | undefined;
  for (const key of new Set(history.map((operation) => operation.key))) {
    const operations = history.filter((operation) => operation.key === key);
    const verdict = new Search(key, operations).run(stepsMax);
    if (verdict.kind === 'violated') return verdict;
    if (verdict.kind === 'undecided') undecided = verdict;
  }
  return undecided ?? { kind: 'linearizable' };
}

/** A verdict in words, with what leads to it. */
export function describeVerdict(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'linearizable':
      return 'linearizable';
    case 'undecided':
      return `key ${verdict.key}: given up after too many steps`;
    case 'violated': {
      const last = verdict.prefix.slice(-8).map((one) => `\n  ${describe(one)}`);
      return `key ${verdict.key}: ${describe(verdict.stuck)} fits nowhere after${last.join('')}`;
    }
  }
}

function describe(operation: Operation): string {
  const { client, calledAt, answeredAt } = operation;
  return `${client} [${calledAt}, ${answeredAt}] ${describeCall(operation)}`;
}

function describeCall(operation: Operation): string {
  switch (operation.kind) {
    case 'write':
      return `write ${operation.value}`;
    case 'read':
      return `read ${operation.value}`;
    case 'compareAndSet': {
      const { expected, value, swapped } = operation;
      return `compareAndSet ${expected} to ${value}: ${swapped ?? 'no answer'}`;
    }
  }
}

/** Values as small numbers: those that nobody asks about are all the same. */
const ABSENT = 0;
const UNASKED = 1;

/** An operation as the search uses it. */
interface Step {
  readonly operation: Operation;
  readonly isPending: boolean;
  /** The value it asks for, and the one it leaves. */
  readonly expected: number;
  readonly value: number;
  /** The same for steps that differ in nothing but their times. */
  readonly sort: string;
}

/** Calls and answers in order, as a list from which operations are taken and put back. */
interface Event {
  readonly step: number;
  readonly isAnswer: boolean;
  previous: number;
  next: number;
}

/** A choice that was made: the step, the state before it, and what could be tried instead. */
interface Choice {
  readonly step: number;
  readonly before: number;
  readonly others: number[];
}

/** The search over one key. */
class Search {
  readonly #key: string;
  readonly #steps: readonly Step[];
  readonly #events: Event[];
  /** Position of each step's call and answer in `#events`; no answer when pending. */
  readonly #callAt: number[] = [];
  readonly #answerAt: (number | undefined)[] = [];
  readonly #done: Uint16Array;
  readonly #choices: Choice[] = [];
  readonly #seen = new Set<string>();
  #state = ABSENT;
  /** Steps that have an answer and are not done. */
  #remaining: number;
  #best: Extract<Verdict, { kind: 'violated' }> | undefined;

  constructor(key: string, operations: readonly Operation[]) {
    this.#key = key;
    this.#steps = stepsOf(operations);
    this.#done = new Uint16Array(Math.ceil(this.#steps.length / 16));
    this.#remaining = this.#steps.filter((step) => !step.isPending).length;
    const moments = this.#steps.flatMap(({ operation, isPending }, step) => {
      const call = { step, isAnswer: false, at: operation.calledAt };
      return isPending ? [call] : [call, { step, isAnswer: true, at: operation.answeredAt }];
    });
    moments.sort((a, b) => a.at - b.at);
    // Position 0 is the head of the list.
    this.#events = [{ step: -1, isAnswer: false, at: 0 }, ...moments].map(
      ({ step, isAnswer }, at) => ({ step, isAnswer, previous: at - 1, next: at + 1 }),
    );
    this.#events.forEach(({ step, isAnswer }, at) => {
      if (step >= 0) (isAnswer ? this.#answerAt : this.#callAt)[step] = at;
    });
  }

  run(stepsMax: number): Verdict {
    let candidates = this.#candidates();
    for (let count = 0; this.#remaining > 0; count++) {
      if (count > stepsMax) return { kind: 'undecided', key: this.#key };
      const step = candidates.pop();
      if (step !== undefined) {
        if (this.#take(step, candidates)) candidates = this.#candidates();
        continue;
      }
      const last = this.#choices.pop();
      if (last === undefined) return this.#best ?? { kind: 'undecided', key: this.#key };
      this.#putBack(last);
      candidates = last.others;
    }
    return { kind: 'linearizable' };
  }

  /**
   * What the store may do next, the most promising last: everything called before the first answer
   * that is due. Of steps that differ only in times the one whose answer is due first will do.
   */
  #candidates(): number[] {
    if (this.#remaining === 0) return [];
    const bySort = new Map<string, number>();
    let at = this.#event(0).next;
    for (let event = this.#event(at); !event.isAnswer; at = event.next, event = this.#event(at)) {
      const step = this.#step(event.step);
      const after = effect(step, this.#state);
      if (after === undefined || this.#isIdle(step, after)) continue;
      // Whatever comes later is possible without it, too.
      if (after === this.#state && step.operation.kind !== 'write') return [event.step];
      const twin = bySort.get(step.sort);
      if (twin === undefined || this.#dueAt(event.step) < this.#dueAt(twin)) {
        bySort.set(step.sort, event.step);
      }
    }
    this.#noteStuck(this.#event(at).step);
    return [...bySort.values()].sort((a, b) => this.#dueAt(b) - this.#dueAt(a));
  }

  /** Whether taking this step now is no better than leaving it, or others, for later or for ever. */
  #isIdle(step: Step, after: number): boolean {
    if (step.isPending && after === this.#state) return true;
    // A write that nobody saw before the next one: if it is pending it need not be at all.
    return step.operation.kind === 'write' && this.#followsPendingWrite;
  }

  get #followsPendingWrite(): boolean {
    const last = this.#choices.at(-1);
    if (last === undefined) return false;
    const { isPending, operation } = this.#step(last.step);
    return isPending && operation.kind === 'write';
  }

  /** Lets the store do an operation next, unless that leads to nothing new. */
  #take(index: number, others: number[]): boolean {
    const step = this.#step(index);
    const before = this.#state;
    this.#choices.push({ step: index, before, others });
    this.#state = effect(step, before) ?? before;
    this.#mark(index, true);
    const last = this.#followsPendingWrite ? 1 : 0;
    const state = String.fromCharCode(last, this.#state, ...this.#done);
    if (this.#seen.has(state)) {
      this.#choices.pop();
      this.#state = before;
      this.#mark(index, false);
      return false;
    }
    this.#seen.add(state);
    if (!step.isPending) this.#remaining -= 1;
    this.#unlink(this.#callAt[index]);
    this.#unlink(this.#answerAt[index]);
    return true;
  }

  #putBack({ step, before }: Choice): void {
    this.#mark(step, false);
    this.#state = before;
    if (!this.#step(step).isPending) this.#remaining += 1;
    this.#relink(this.#answerAt[step]);
    this.#relink(this.#callAt[step]);
  }

  #noteStuck(index: number): void {
    if (this.#best !== undefined && this.#best.prefix.length >= this.#choices.length) return;
    const prefix = this.#choices.map(({ step }) => this.#step(step).operation);
    const stuck = this.#step(index).operation;
    this.#best = { kind: 'violated', key: this.#key, prefix, stuck };
  }

  #dueAt(index: number): number {
    return this.#step(index).operation.answeredAt;
  }

  #unlink(at: number | undefined): void {
    if (at === undefined) return;
    const { previous, next } = this.#event(at);
    this.#event(previous).next = next;
    const after = this.#events[next];
    if (after !== undefined) after.previous = previous;
  }

  #relink(at: number | undefined): void {
    if (at === undefined) return;
    const { previous, next } = this.#event(at);
    this.#event(previous).next = at;
    const after = this.#events[next];
    if (after !== undefined) after.previous = at;
  }

  #event(at: number): Event {
    const event = this.#events[at];
    if (event === undefined) throw new RangeError(`no event ${at}`);
    return event;
  }

  #step(index: number): Step {
    const step = this.#steps[index];
    if (step === undefined) throw new RangeError(`no step ${index}`);
    return step;
  }

  #mark(index: number, isDone: boolean): void {
    const word = this.#done[index >> 4] ?? 0;
    const bit = 1 << (index & 15);
    this.#done[index >> 4] = isDone ? word | bit : word & ~bit;
  }
}

/** The state after a step; undefined when its answer could not have been given in this state. */
function effect({ operation, expected, value }: Step, state: number): number | undefined {
  switch (operation.kind) {
    case 'write':
      return value;
    case 'read':
      return state === expected ? state : undefined;
    case 'compareAndSet': {
      const swaps = state === expected;
      if (operation.swapped !== undefined && operation.swapped !== swaps) return undefined;
      return swaps ? value : state;
    }
  }
}

function stepsOf(operations: readonly Operation[]): readonly Step[] {
  const sorted = [...operations].sort((a, b) => a.calledAt - b.calledAt);
  const numbers = new Map<Value, number>([[undefined, ABSENT]]);
  for (const operation of sorted) {
    if (operation.kind === 'write') continue;
    const asked = operation.kind === 'read' ? operation.value : operation.expected;
    if (!numbers.has(asked)) numbers.set(asked, numbers.size + 1);
  }
  return sorted.map((operation) => {
    const { kind, value } = operation;
    const asked = kind === 'compareAndSet' ? operation.expected : value;
    const expected = kind === 'write' ? UNASKED : (numbers.get(asked) ?? UNASKED);
    const left = numbers.get(value) ?? UNASKED;
    const isPending = operation.answeredAt === NEVER;
    const sort = `${kind} ${expected} ${left}`;
    return { operation, isPending, expected, value: left, sort };
  });
}
