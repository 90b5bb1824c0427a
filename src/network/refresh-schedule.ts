/**
 * When what is known is compared with what is in force: soon after a change, once for however many, and
 * less often while changes follow each other or a pass takes long.
 */
import type { Clock, Timer } from '../model/environment.js';
import { RECONCILE_BUSY_DELAY_MS, RECONCILE_BUSY_MS, RECONCILE_DELAY_MS } from './limits.js';

/** What the schedule works with. */
export interface RefreshScheduleParts {
  readonly clock: Clock;
  /** One comparison. Must not throw. */
  readonly refresh: () => void;
  /** Resolves when what the last comparison told other processes is in force there. */
  readonly applied: () => Promise<void>;
}

/** The next comparison; none before `start` and after `stop`. */
export class RefreshSchedule {
  private isRunning = false;
  private timer: Timer | undefined;
  private tookMs = 0;
  /** When the last one began, monotonic. */
  private lastMs = Number.NEGATIVE_INFINITY;
  private readonly waiters: (() => void)[] = [];

  constructor(private readonly parts: RefreshScheduleParts) {}

  /** Comparisons may be made from now on. */
  start(): void {
    this.isRunning = true;
  }

  /** Whoever waits need not any more. */
  stop(): void {
    this.isRunning = false;
    this.timer?.cancel();
    this.timer = undefined;
    this.wakeWaiters();
  }

  /** One comparison, `leastMs` from now or a little later; a pending one will do. */
  soon(leastMs = this.usualDelayMs()): void {
    if (!this.isRunning || this.timer !== undefined) return;
    // With very many endpoints a pass takes longer; it must not take more than a third of the time.
    const delayMs = Math.max(leastMs, 2 * this.tookMs);
    this.timer = this.parts.clock.setTimer(delayMs, () => {
      this.timer = undefined;
      this.now();
    });
  }

  /** A comparison without delay; a pending one stays. */
  now(): void {
    if (!this.isRunning) return;
    const beganMs = this.parts.clock.monotonicMs();
    this.lastMs = beganMs;
    this.parts.refresh();
    this.tookMs = this.parts.clock.monotonicMs() - beganMs;
    this.wakeWaiters();
  }

  /** Resolves once a comparison has been made after this call: one for all who wait. */
  next(): Promise<void> {
    if (!this.isRunning) return Promise.resolve();
    return new Promise((resolve) => {
      this.waiters.push(resolve);
      this.soon();
    });
  }

  private usualDelayMs(): number {
    const isBusy = this.parts.clock.monotonicMs() - this.lastMs < RECONCILE_BUSY_MS;
    return isBusy ? RECONCILE_BUSY_DELAY_MS : RECONCILE_DELAY_MS;
  }

  private wakeWaiters(): void {
    const waiters = this.waiters.splice(0);
    if (waiters.length === 0) return;
    void this.parts.applied().then(() => {
      for (const resolve of waiters) resolve();
    });
  }
}
