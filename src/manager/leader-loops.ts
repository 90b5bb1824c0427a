/**
 * Everything only the leader does to the cluster's objects: allocate, place, orchestrate, update,
 * clean up. Started when this manager becomes leader, stopped when it ceases to be; all state
 * follows from the store.
 */
import { Allocator } from './allocator/allocator.js';
import { Autoscaler } from './orchestrator/autoscaler.js';
import { ConstraintEnforcer } from './orchestrator/constraint-enforcer.js';
import { CronJobs } from './orchestrator/cron-jobs.js';
import { GlobalOrchestrator } from './orchestrator/global.js';
import { GlobalJobOrchestrator, ReplicatedJobOrchestrator } from './orchestrator/jobs.js';
import type { LeaderLoopOptions } from './orchestrator/leader-loop.js';
import { ReplicatedOrchestrator } from './orchestrator/replicated.js';
import { RestartSupervisor } from './orchestrator/restart-supervisor.js';
import { TaskMoves } from './orchestrator/task-moves.js';
import { TaskReaper } from './orchestrator/task-reaper.js';
import type { TaskUsage } from './statistics/task-usage.js';
import { Scheduler } from './scheduler/scheduler.js';
import { UpdateSupervisor } from './updater/update-supervisor.js';

/** The loops of one term of leadership; a new term needs new loops. */
export class LeaderLoops {
  readonly allocator: Allocator;
  readonly scheduler: Scheduler;
  readonly #supervisor: RestartSupervisor;
  readonly #updates: UpdateSupervisor;
  readonly #loops: readonly { start(): void; stop(): Promise<void> }[];
  #state: 'new' | 'started' | 'stopped' = 'new';

  constructor(
    options: LeaderLoopOptions & {
      /** What tasks use, as their nodes tell. */
      readonly usage: Pick<TaskUsage, 'milliCpus'>;
    },
  ) {
    this.#supervisor = new RestartSupervisor(options);
    this.#updates = new UpdateSupervisor({ ...options, supervisor: this.#supervisor });
    const parts = { ...options, supervisor: this.#supervisor, updates: this.#updates };
    this.allocator = new Allocator(options);
    this.scheduler = new Scheduler(options);
    this.#loops = [
      this.allocator,
      this.scheduler,
      new ReplicatedOrchestrator(parts),
      new GlobalOrchestrator(parts),
      new ReplicatedJobOrchestrator(parts),
      new GlobalJobOrchestrator(parts),
      new TaskMoves({ ...parts, scheduler: this.scheduler }),
      new CronJobs(options),
      new Autoscaler(options),
      new TaskReaper(options),
      new ConstraintEnforcer(options),
    ];
  }

  /** Starts all loops; once. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'started';
    for (const loop of this.#loops) loop.start();
  }

  /** Stops all loops, those first that give others work; resolves when nothing runs any more. */
  async stop(): Promise<void> {
    if (this.#state !== 'started') return;
    this.#state = 'stopped';
    await Promise.all([this.#updates.stop(), this.#supervisor.stop()]);
    await Promise.all([...this.#loops].reverse().map((loop) => loop.stop()));
  }
}
