/** What a node's networking does again and again. */
import { SkepError } from '../model/errors.js';
import type { Clock, Timer } from '../model/environment.js';
import type { Logger } from '../observe/logger.js';

/** Works, each with a period of its own; an error of one is logged and stops nothing. */
export class PeriodicWork {
  private readonly timers = new Map<string, Timer>();

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Does `work` every `periodMs`, the first time one period from now. @param name unique; for the log */
  every(name: string, periodMs: number, work: () => void): void {
    const turn = () => {
      this.timers.set(name, this.clock.setTimer(periodMs, turn));
      try {
        work();
      } catch (error) {
        this.logger.error({ err: SkepError.from(error).message }, `${name} watch failed`);
      }
    };
    this.timers.set(name, this.clock.setTimer(periodMs, turn));
  }

  /** No work from now on. */
  stop(): void {
    for (const timer of this.timers.values()) timer.cancel();
    this.timers.clear();
  }
}
