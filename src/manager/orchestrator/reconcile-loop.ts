/**
 * The engine of every leader's loop: it turns a flurry of triggers into passes that run one at a
 * time, retries a pass that failed, and stops cleanly. What is to be done is the owner's business;
 * a pass reads it from the store, so losing a trigger to a crash loses nothing.
 */
import type { Environment, Timer } from '../../model/environment.js';
import { InvariantError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import { RETRY_DELAY_MS_MAX, RETRY_DELAY_MS_MIN } from './limits.js';

/** When passes run. */
export interface Debounce {
  /** A pass starts when no trigger came for this long. 0: as soon as the caller returns. */
  readonly quietPeriodMs: number;
  /** A pass starts at the latest this long after the first trigger. */
  readonly maxDelayMs: number;
}

/** Passes start as soon as the triggering code has returned; triggers during a pass cause one more. */
export const AT_ONCE: Debounce = { quietPeriodMs: 0, maxDelayMs: 0 };

/** Runs `pass` after triggers, never two at a time. */
export class ReconcileLoop {
  readonly #environment: Environment;
  readonly #logger: Logger;
  readonly #pass: () => Promise<void>;
  #stopped = false;
  #running: Promise<void> | undefined;
  #triggered = false;
  #timer: Timer | undefined;
  #timerDueMs = Infinity;
  #latestStartMs = Infinity;
  #retryDelayMs = RETRY_DELAY_MS_MIN;
  /** A failed pass is not repeated before, whatever triggers it: it may have done so itself. */
  #earliestStartMs = 0;

  constructor(options: {
    readonly environment: Environment;
    readonly logger: Logger;
    readonly pass: () => Promise<void>;
  }) {
    this.#environment = options.environment;
    this.#logger = options.logger;
    this.#pass = options.pass;
  }

  /** Whether {@link stop} was called. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Asks for a pass. A pass already due sooner serves this trigger too. */
  trigger(debounce: Debounce = AT_ONCE): void {
    if (this.#stopped) return;
    if (debounce.quietPeriodMs === 0) {
      this.#request();
      return;
    }
    const nowMs = this.#environment.clock.monotonicMs();
    this.#latestStartMs = Math.min(this.#latestStartMs, nowMs + debounce.maxDelayMs);
    this.#arm(Math.min(nowMs + debounce.quietPeriodMs, this.#latestStartMs));
  }

  /** Ends after the pass under way, if any. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #arm(dueMs: number): void {
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    const delayMs = Math.max(0, this.#timerDueMs - this.#environment.clock.monotonicMs());
    this.#timer = this.#environment.clock.setTimer(delayMs, () => this.#request());
  }

  #request(): void {
    if (this.#environment.clock.monotonicMs() < this.#earliestStartMs) {
      this.#arm(Math.min(this.#timerDueMs, this.#earliestStartMs));
      return;
    }
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerDueMs = Infinity;
    this.#latestStartMs = Infinity;
    this.#triggered = true;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // One turn later, so that everything the triggering code still does is seen by this pass.
    await Promise.resolve();
    while (this.#triggered && !this.#stopped) {
      this.#triggered = false;
      try {
        await this.#pass();
        this.#retryDelayMs = RETRY_DELAY_MS_MIN;
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#running = undefined;
  }

  #failed(error: unknown): void {
    if (error instanceof InvariantError) {
      this.#logger.fatal({ error: error.message, stack: error.stack }, 'a leader loop is broken');
      queueMicrotask(() => {
        throw error;
      });
      this.#stopped = true;
      return;
    }
    const message = error instanceof Error ? error.message : String(error);
    this.#logger.warn({ error: message }, 'a pass failed and will be repeated');
    if (this.#stopped) return;
    const nowMs = this.#environment.clock.monotonicMs();
    this.#earliestStartMs = nowMs + RETRY_DELAY_MS_MIN;
    this.#arm(this.#triggered ? this.#earliestStartMs : nowMs + this.#retryDelayMs);
    this.#triggered = false;
    this.#retryDelayMs = Math.min(2 * this.#retryDelayMs, RETRY_DELAY_MS_MAX);
  }
}
