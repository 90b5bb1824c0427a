/**
 * Admits writers: one at a time, first come, first served, and only while what was proposed and is
 * not decided yet stays within bounds. So many writers share the rounds of the quorum, and none of
 * them finds that the raft core refuses it because too much is under way.
 */
import { SkepError } from '../model/errors.js';

/** Bounds of a {@link WriterWindow}. */
export interface WindowLimits {
  /** Callers that may wait to be admitted. */
  readonly waitingMax: number;
  /** Transactions proposed and not decided yet. */
  readonly entriesMax: number;
  /** Bytes of them; one transaction more may always begin below it. */
  readonly bytesMax: number;
}

/** See the file's head. */
export class WriterWindow {
  readonly #limits: WindowLimits;
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;
  #entries = 0;
  #bytes = 0;

  constructor(limits: WindowLimits) {
    this.#limits = limits;
  }

  /**
   * Takes the turn, at once or when the promise resolves; the caller must `leave` in any case.
   * @throws SkepError resource_exhausted when too many wait already.
   */
  enter(): Promise<void> | undefined {
    if (!this.#isTaken && this.#isOpen) {
      this.#isTaken = true;
      return undefined;
    }
    if (this.#waiting.length >= this.#limits.waitingMax) {
      throw new SkepError('resource_exhausted', 'store: too many writers are waiting');
    }
    // Whoever leaves passes the turn on, so that nobody gets in between.
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the turn and lets the next writer in. */
  leave(): void {
    this.#isTaken = false;
    this.#admit();
  }

  /** A transaction was proposed and counts until it is `settled`. */
  proposed(bytes: number): void {
    this.#entries += 1;
    this.#bytes += bytes;
  }

  /** Nothing is to be expected of so many transactions any more. */
  settled(entries: number, bytes: number): void {
    this.#entries -= entries;
    this.#bytes -= bytes;
    this.#admit();
  }

  get #isOpen(): boolean {
    const { entriesMax, bytesMax } = this.#limits;
    return this.#entries < entriesMax && this.#bytes < bytesMax;
  }

  #admit(): void {
    if (this.#isTaken || !this.#isOpen) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#isTaken = true;
    next();
  }
}
