/**
 * Jobs with a schedule (`skep.cron`): at each due minute a new iteration, as an update with `--force`
 * makes one, unless the one before still runs. Times that passed while nobody led are not made up for,
 * except those of the last minute.
 */
import { create } from '@bufbuild/protobuf';
import { timestampNow, timestampToMs } from '../../model/defaults.js';
import { type CronSchedule, parseCron } from '../../model/cron.js';
import type { Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { JobStatusSchema } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { CRON_LABEL } from '../../model/labels/keys.js';
import { isOver, isWanted } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { CRON_LATE_MS, CRON_SLEEP_MS_MAX } from './limits.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { isJob } from './task.js';

/** The schedule of a job, if it has one. */
export function cronOf(service: Service): CronSchedule | undefined {
  const text = service.spec?.annotations?.labels[CRON_LABEL];
  if (text === undefined || !isJob(service)) return undefined;
  try {
    return parseCron(text);
  } catch (error) {
    // Refused when it is set: stored by another software, it counts as none.
    if (error instanceof SkepError) return undefined;
    throw error;
  }
}

interface ScheduledJob {
  readonly schedule: CronSchedule;
  /** Milliseconds since the epoch. */
  readonly dueMs: number;
}

/** Starts the iterations of scheduled jobs. */
export class CronJobs extends LeaderLoop {
  readonly #jobs = new Map<string, ScheduledJob>();
  #timer: Timer | undefined;

  constructor(options: LeaderLoopOptions) {
    super(options, 'cron');
  }

  override async stop(): Promise<void> {
    this.#timer?.cancel();
    await super.stop();
  }

  protected observeAll(transaction: ReadTransaction): void {
    const lateMs = this.environment.clock.nowMs() - CRON_LATE_MS;
    for (const service of transaction.find('service', { by: 'all' })) {
      const ranMs = timestampToMs(service.jobStatus?.lastExecution) ?? 0;
      this.#schedule(service, Math.max(lateMs, ranMs));
    }
  }

  protected observe(event: StoreEvent): void {
    if (event.table !== 'service') return;
    const { id } = event.object;
    if (event.kind === 'remove') this.#jobs.delete(id);
    else this.#schedule(event.object, this.environment.clock.nowMs());
    if (this.#jobs.has(id)) this.#arm();
  }

  #schedule(service: Service, afterMs: number): void {
    const schedule = cronOf(service);
    const dueMs = schedule?.nextAfter(afterMs);
    if (schedule === undefined || dueMs === undefined) this.#jobs.delete(service.id);
    else this.#jobs.set(service.id, { schedule, dueMs });
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#jobs.size === 0 || this.loop.stopped) return;
    const dueMs = Math.min(...[...this.#jobs.values()].map((job) => job.dueMs));
    const waitMs = Math.max(0, dueMs - this.environment.clock.nowMs());
    // The wall clock may be set meanwhile.
    const delayMs = Math.min(waitMs, CRON_SLEEP_MS_MAX);
    this.#timer = this.environment.clock.setTimer(delayMs, () => this.loop.trigger());
  }

  protected async pass(): Promise<void> {
    const nowMs = this.environment.clock.nowMs();
    for (const [id, { schedule, dueMs }] of [...this.#jobs]) {
      if (dueMs > nowMs) continue;
      const isStarted = await this.store.update((transaction) => this.#begin(transaction, id));
      if (!isStarted) this.logger.info({ serviceId: id }, 'scheduled job still runs');
      const nextMs = schedule.nextAfter(nowMs);
      if (nextMs !== undefined && this.#jobs.has(id))
        this.#jobs.set(id, { schedule, dueMs: nextMs });
    }
    this.#arm();
  }

  /** Returns false when the iteration before is under way. */
  #begin(transaction: WriteTransaction, id: string): boolean {
    const service = transaction.get('service', id);
    if (service === undefined || cronOf(service) === undefined) return true;
    const iteration = service.jobStatus?.jobIteration?.index ?? 0n;
    const isBusy = transaction
      .find('task', { by: 'service', serviceId: id })
      .some((task) => task.jobIteration?.index === iteration && isWanted(task) && !isOver(task));
    if (isBusy) return false;
    const jobStatus = create(JobStatusSchema, {
      jobIteration: { index: iteration + 1n },
      lastExecution: timestampNow(this.environment.clock),
    });
    transaction.update('service', { ...service, jobStatus });
    return true;
  }
}
