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

/** A writer's turn; to be ended in any case. */
export interface WriterTurn {
  /** `bytes` were proposed and count until `settled` resolves. */
  proposed(bytes: number, settled: Promise<void>): void;
  /** Lets the next writer in. Idempotent. */
  end(): void;
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
   * Resolves when it is the caller's turn.
   * @throws SkepError resource_exhausted when too many wait already.
   */
  async enter(): Promise<WriterTurn> {
    if (this.#isTaken || !this.#isOpen) {
      if (this.#waiting.length >= this.#limits.waitingMax) {
        throw new SkepError('resource_exhausted', 'store: too many writers are waiting');
      }
      // Whoever ends a turn passes it on, so that nobody gets in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#isTaken = true;
    let hasEnded = false;
    return {
      proposed: (bytes, settled) => this.#count(bytes, settled),
      end: () => {
        if (hasEnded) return;
        hasEnded = true;
        this.#isTaken = false;
        this.#admit();
      },
    };
  }

  get #isOpen(): boolean {
    const { entriesMax, bytesMax } = this.#limits;
    return this.#entries < entriesMax && this.#bytes < bytesMax;
  }

  #count(bytes: number, settled: Promise<void>): void {
    this.#entries += 1;
    this.#bytes += bytes;
    void settled.then(() => {
      this.#entries -= 1;
      this.#bytes -= bytes;
      this.#admit();
    });
  }

  #admit(): void {
    if (this.#isTaken || !this.#isOpen) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#isTaken = true;
    next();
  }
}
