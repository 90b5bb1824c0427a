/**
 * Drives one task: asks the pure state machine for the next step, runs its effect, reports each
 * new state. A change of the desired state interrupts an effect that is no longer wanted. A held
 * manager (after a restart of the daemon, before a manager was heard) only watches what runs.
 */
import { clone, create, equals } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Clock } from '../model/environment.js';
import { invariant, SkepError } from '../model/errors.js';
import { type Task, TaskSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  ContainerStatusSchema,
  PortStatusSchema,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { childAbort, lifeAbort, sleep, WakeFlag } from './async.js';
import type { RuntimeFacts, TaskController } from './executor.js';
import { TASK_RETRY_MS } from './limits.js';
import {
  afterFailure,
  afterSuccess,
  decideNext,
  type EffectStep,
  isTemporary,
  type StateReport,
} from './task-state.js';

/** What a task manager needs. */
export interface TaskManagerOptions {
  readonly task: Task;
  readonly controller: TaskController;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Only watch until {@link TaskManager.release}. */
  readonly held: boolean;
  /** Called after each change of the status, with the task carrying it. */
  readonly onStatus: (task: Task) => void;
}

/** One task's life on this node. */
export class TaskManager {
  readonly controller: TaskController;
  private current: Task;
  private held: boolean;
  private readonly life = lifeAbort();
  private readonly wake = new WakeFlag();
  private effect: { readonly step: EffectStep; readonly abort: AbortController } | undefined;
  private loop: Promise<void> | undefined;

  constructor(private readonly options: TaskManagerOptions) {
    this.controller = options.controller;
    this.current = clone(TaskSchema, options.task);
    this.current.status ??= create(TaskStatusSchema);
    this.held = options.held;
  }

  /** The task with its status as observed here. Not to be changed by the caller. */
  get task(): Task {
    return this.current;
  }

  /** Begins to drive the task. */
  start(): void {
    invariant(this.loop === undefined, 'a task manager starts once');
    this.loop = this.run();
  }

  /** A new version of the task from the manager: desired state, ports. Our status stays. */
  update(task: Task): void {
    const next = clone(TaskSchema, task);
    next.status = this.status();
    // Desired states only grow as well; a late message must not revive a stopping task.
    if (next.desiredState < this.current.desiredState) {
      next.desiredState = this.current.desiredState;
    }
    this.current = next;
    this.reconsider();
    void this.follow(next);
  }

  /** Has the published ports follow, and tells the manager where they are now. */
  private async follow(task: Task): Promise<void> {
    try {
      await this.controller.update(task);
      this.reportPorts();
    } catch (error) {
      const text = SkepError.from(error).message;
      this.options.logger.error({ taskId: task.id, error: text }, 'task update failed');
    }
  }

  /** Ports changed in place are news, although the state stays: with its time, message and error. */
  private reportPorts(): void {
    const facts = this.controller.facts();
    const old = this.status();
    if (facts === undefined || old.state !== TaskState.RUNNING) return;
    const status = clone(TaskStatusSchema, old);
    applyFacts(status, facts);
    if (equals(TaskStatusSchema, status, old)) return;
    const next = clone(TaskSchema, this.current);
    next.status = status;
    this.current = next;
    this.options.onStatus(next);
  }

  /** The manager was heard: from now on all steps are taken. */
  release(): void {
    this.held = false;
    this.reconsider();
  }

  /** Stops driving; the container stays as it is. Resolves once no effect runs any more. */
  async close(): Promise<void> {
    this.life.abort();
    await this.loop;
  }

  private status(): TaskStatus {
    const status = this.current.status;
    invariant(status !== undefined, 'a managed task has a status');
    return status;
  }

  private reconsider(): void {
    if (this.effect !== undefined) {
      const next = decideNext(this.status().state, this.current.desiredState);
      if (next.kind !== this.effect.step.kind) this.effect.abort.abort();
    }
    this.wake.raise();
  }

  private async run(): Promise<void> {
    while (!this.life.signal.aborted) {
      const step = decideNext(this.status().state, this.current.desiredState);
      const idle = step.kind === 'rest' || (this.held && step.kind !== 'wait');
      if (idle) {
        await this.wake.wait(this.life.signal).catch(ignoreAbort);
      } else if (step.kind === 'advance') {
        this.report({ state: step.to, message: step.message, err: '' });
      } else {
        await this.perform(step);
      }
    }
  }

  private async perform(step: EffectStep): Promise<void> {
    const { controller: abort, release } = childAbort(this.life.signal);
    this.effect = { step, abort };
    try {
      await this.runEffect(step, abort.signal);
      this.report(afterSuccess(step));
    } catch (thrown) {
      await this.failed(step, SkepError.from(thrown), abort.signal);
    } finally {
      this.effect = undefined;
      release();
    }
  }

  private runEffect(step: EffectStep, signal: AbortSignal): Promise<void> {
    switch (step.kind) {
      case 'prepare':
        return this.controller.prepare(signal);
      case 'start':
        return this.controller.start(signal);
      case 'wait':
        return this.controller.wait(signal);
      case 'shutdown':
        return this.controller.shutdown(signal);
    }
  }

  private async failed(step: EffectStep, error: SkepError, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const status = this.status();
    const where = { taskId: this.current.id, step: step.kind, error: error.message };
    if (!isTemporary(error)) {
      this.options.logger.warn(where, 'task step failed');
      this.report(afterFailure(status, error));
      return;
    }
    this.options.logger.info(where, 'task step will be tried again');
    this.report({ state: status.state, message: status.message, err: error.message });
    await sleep(this.options.clock, TASK_RETRY_MS, signal).catch(ignoreAbort);
  }

  private report(report: StateReport): void {
    const old = this.status();
    invariant(report.state >= old.state, 'task states only grow');
    const facts = this.controller.facts();
    const status = clone(TaskStatusSchema, old);
    status.timestamp = timestampFromMs(this.options.clock.nowMs());
    status.state = report.state;
    status.message = report.message;
    status.err = report.err;
    if (facts !== undefined) applyFacts(status, facts);
    const next = clone(TaskSchema, this.current);
    next.status = status;
    this.current = next;
    this.options.onStatus(next);
  }
}

function applyFacts(status: TaskStatus, facts: RuntimeFacts): void {
  const { containerId, pid, exitCode, hostPorts } = facts;
  const container = create(ContainerStatusSchema, { containerId, pid, exitCode });
  status.runtimeStatus = { case: 'container', value: container };
  if (hostPorts.length === 0) delete status.portStatus;
  else status.portStatus = create(PortStatusSchema, { ports: [...hostPorts] });
}

function ignoreAbort(): void {
  // Being woken by the end of the task's life is an answer, not an error.
}
