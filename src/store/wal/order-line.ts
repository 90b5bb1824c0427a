/**
 * The line of orders between the main thread and the log's writer thread, in memory that both share: an
 * append that is waited for goes from one to the other and back without an event loop, a copy by the
 * runtime or an allocation. Orders are done one after the other. What the shared memory has no room for,
 * and what is no append, is a message on a port beside it.
 */
import type { PlainRecord } from './record.js';
import { packedBytes, packRecords } from './worker-protocol.js';

/** Numbers of the last order given and the last one done; they wrap around. */
const GIVEN = 0;
const DONE = 1;
/** The number of the append in the slot, its length, and whether it is to be flushed. */
const SLOT_ORDER = 2;
const SLOT_BYTES = 3;
const SLOT_SYNC = 4;
const WORDS = 5;

/** Room of the slot: an append of some hundred changes of usual size. */
const SLOT_BYTES_MAX = 256 * 1024;

/** What both threads have; made by the main thread. */
export interface SharedLine {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly slot: Uint8Array<SharedArrayBuffer>;
}

/** Memory for a line. */
export function newSharedLine(): SharedLine {
  return {
    words: new Int32Array(new SharedArrayBuffer(4 * WORDS)),
    slot: new Uint8Array(new SharedArrayBuffer(SLOT_BYTES_MAX)),
  };
}

/** The end that gives orders. */
export class LineGiver {
  readonly #line: SharedLine;
  readonly #onDone: () => void;
  /** Orders given, and of those the done ones that were noticed. */
  #given = 0;
  #done = 0;
  /** Number of the last order that took the slot. */
  #slotTaken = 0;
  #isWaiting = false;

  /** @param onDone called once for each order, when it is done */
  constructor(line: SharedLine, onDone: () => void) {
    this.#line = line;
    this.#onDone = onDone;
  }

  /** Puts records in the slot for the order that is given next; false if there is no room now. */
  putAppend(records: readonly PlainRecord[], sync: boolean): boolean {
    const { words, slot } = this.#line;
    const bytes = packedBytes(records);
    if (this.#slotTaken > this.#done || bytes > slot.length) return false;
    packRecords(records, slot);
    this.#slotTaken = this.#given + 1;
    words[SLOT_BYTES] = bytes;
    words[SLOT_SYNC] = sync ? 1 : 0;
    Atomics.store(words, SLOT_ORDER, this.#slotTaken);
    return true;
  }

  /** Gives the order that was put in the slot or posted as a message just before. It may be done at once. */
  give(): void {
    const { words } = this.#line;
    this.#given += 1;
    Atomics.store(words, GIVEN, this.#given);
    Atomics.notify(words, GIVEN);
    if (!this.#isWaiting) this.#wait();
  }

  #wait(): void {
    const { words } = this.#line;
    while (this.#done < this.#given) {
      // As the words wrap, so does what is compared with them.
      const wait = Atomics.waitAsync(words, DONE, this.#done | 0);
      if (wait.async) {
        this.#isWaiting = true;
        void wait.value.then(() => {
          this.#isWaiting = false;
          this.#notice();
          if (!this.#isWaiting) this.#wait();
        });
        return;
      }
      this.#notice();
    }
  }

  #notice(): void {
    const count = (Atomics.load(this.#line.words, DONE) - this.#done) | 0;
    for (let at = 0; at < count; at++) {
      this.#done += 1;
      this.#onDone();
    }
  }
}

/** An append out of the slot. It holds until the order is done. */
export interface SlotAppend {
  readonly packed: Uint8Array;
  readonly sync: boolean;
}

/** The end that takes orders. */
export class LineTaker {
  readonly #line: SharedLine;
  #done = 0;

  constructor(line: SharedLine) {
    this.#line = line;
  }

  /** Blocks until there is an order; returns it if it is in the slot, or undefined for a message. */
  take(): SlotAppend | undefined {
    const { words, slot } = this.#line;
    while (Atomics.load(words, GIVEN) === this.#done) Atomics.wait(words, GIVEN, this.#done);
    const order = (this.#done + 1) | 0;
    if (Atomics.load(words, SLOT_ORDER) !== order) return undefined;
    return { packed: slot.subarray(0, words[SLOT_BYTES]), sync: words[SLOT_SYNC] === 1 };
  }

  /** The order is done. */
  done(): void {
    const { words } = this.#line;
    this.#done = (this.#done + 1) | 0;
    Atomics.store(words, DONE, this.#done);
    Atomics.notify(words, DONE);
  }
}
