/**
 * Follows whether one task may have traffic: until it may for the first time, and from then on. A
 * task counts as not ready after several failures in a row, and as ready at the first success. The
 * container is never touched for it.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { type Readiness, readinessText } from '../model/readiness.js';
import type { Logger } from '../observe/logger.js';
import { childAbort, sleep, throwIfAborted, WakeFlag } from './async.js';
import { READINESS_FIRST_INTERVAL_MS } from './limits.js';
import type { Look } from './readiness-probe.js';

/** What a watch needs. */
export interface ReadinessParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly taskId: string;
  /** Looks once. */
  readonly look: (wanted: Readiness, signal: AbortSignal) => Promise<Look>;
  /** Has traffic follow; `unready` says why the task gets none. */
  readonly apply: (unready: string | undefined) => Promise<void>;
}

/** The readiness of one task. */
export class ReadinessWatch {
  private readonly changed = new WakeFlag();
  private failures = 0;
  /** What was applied last; undefined: nothing yet, or by a process before this one. */
  private verdict: 'ready' | 'unready' | undefined;

  constructor(
    private readonly parts: ReadinessParts,
    private wanted: Readiness | undefined,
  ) {}

  /** What the service's labels ask for now; undefined: every task that runs is ready. */
  configure(wanted: Readiness | undefined): void {
    if (readinessText(wanted) === readinessText(this.wanted)) return;
    this.wanted = wanted;
    this.failures = 0;
    this.changed.raise();
  }

  /**
   * Resolves at the first success.
   * @throws SkepError when the start period is over and the task has failed too often since; canceled
   */
  async untilReady(signal: AbortSignal): Promise<void> {
    const { clock, logger, taskId } = this.parts;
    const beganMs = clock.monotonicMs();
    let said = '';
    this.failures = 0;
    for (;;) {
      const { wanted } = this;
      if (wanted === undefined) return;
      const { startPeriodMs = Number.POSITIVE_INFINITY, intervalMs, retries } = wanted;
      const counts = clock.monotonicMs() - beganMs >= startPeriodMs;
      const found = await this.lookOnce(wanted, signal);
      if (found.kind === 'ready') {
        this.failures = 0;
        this.verdict = 'ready';
        return;
      }
      if (found.kind === 'unready') {
        if (found.reason !== said) logger.info({ taskId, reason: found.reason }, 'not ready yet');
        said = found.reason;
        if (counts) this.failures += 1;
        if (this.failures >= retries)
          throw new SkepError('unknown', `task: never became ready: ${found.reason}`);
      }
      await this.pause(Math.min(intervalMs, READINESS_FIRST_INTERVAL_MS), signal);
    }
  }

  /** Follows a task that is in the network, until `signal` aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    // The look that let it in was just now.
    if (this.verdict === 'ready' && this.wanted !== undefined)
      await this.pause(this.wanted.intervalMs, signal);
    while (!signal.aborted) {
      const { wanted } = this;
      if (wanted === undefined) await this.conclude({ kind: 'ready' }, 1);
      else await this.conclude(await this.lookOnce(wanted, signal), wanted.retries);
      const lasting = wanted === undefined && this.verdict === 'ready';
      if (lasting) await this.changed.wait(signal);
      else await this.pause(wanted?.intervalMs ?? READINESS_FIRST_INTERVAL_MS, signal);
    }
  }

  private async conclude(found: Look, retries: number): Promise<void> {
    switch (found.kind) {
      case 'unknown':
        return;
      case 'ready':
        this.failures = 0;
        if (this.verdict !== 'ready') await this.change('ready', undefined);
        return;
      case 'unready':
        this.failures += 1;
        if (this.failures < retries || this.verdict === 'unready') return;
        await this.change('unready', found.reason);
    }
  }

  private async change(verdict: 'ready' | 'unready', reason: string | undefined): Promise<void> {
    const { apply, logger, taskId } = this.parts;
    const isFirst = this.verdict === undefined;
    try {
      await apply(reason);
      this.verdict = verdict;
    } catch (error) {
      // The next look tries again.
      logger.warn({ taskId, error: SkepError.from(error).message }, 'readiness not applied');
      return;
    }
    if (verdict === 'unready') logger.warn({ taskId, reason }, 'task is not ready: no new traffic');
    else if (!isFirst) logger.info({ taskId }, 'task is ready again');
  }

  /** A look under other labels than the present ones says nothing. */
  private async lookOnce(wanted: Readiness, signal: AbortSignal): Promise<Look> {
    const found = await this.parts.look(wanted, signal);
    throwIfAborted(signal);
    return this.wanted === wanted ? found : { kind: 'unknown' };
  }

  /** So long, or until the labels change. */
  private async pause(delayMs: number, signal: AbortSignal): Promise<void> {
    const either = childAbort(signal);
    try {
      await Promise.race([
        sleep(this.parts.clock, delayMs, either.controller.signal),
        this.changed.wait(either.controller.signal),
      ]);
    } finally {
      either.controller.abort();
      either.release();
    }
  }
}
