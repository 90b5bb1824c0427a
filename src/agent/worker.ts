/**
 * All tasks of this node: applies assignments, keeps one task manager per task, writes the task
 * files, tells listeners of new states. After a restart of the daemon nothing is stopped or
 * started before the first COMPLETE assignment: what runs is adopted and watched.
 */
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { taskSecretId } from '../model/ids.js';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction as Action,
  type AssignmentsMessage,
  AssignmentsMessage_Type as MessageType,
} from '../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import type { Config, Secret, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, TaskStatusSchema } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { lifeAbort, sleep } from './async.js';
import type { Executor, RemoveOptions, TaskController } from './executor.js';
import {
  DEPENDENCIES_MAX,
  LEAVE_TIMEOUT_MS,
  STOP_TIMEOUT_MS,
  TASK_RETRY_MS,
  TASKS_MAX,
} from './limits.js';
import { isTaskId, TaskFiles } from './task-files.js';
import { TaskManager } from './task-manager.js';

/** What a worker needs. */
export interface WorkerOptions {
  readonly executor: Executor;
  readonly environment: Environment;
  readonly logger: Logger;
  /** Task files live in `<stateDirectory>/worker/tasks`. */
  readonly stateDirectory: string;
}

/** Told of each new state, and of tasks that a manager took away. */
export interface WorkerListener {
  onStatus(task: Task): void;
  onRemoved(taskId: string): void;
}

/** A task on its way out. */
interface Removal {
  readonly manager: TaskManager;
  /** Assigned under the same id meanwhile. */
  next: Task | undefined;
  done: Promise<void>;
}

/** The set of tasks of one node. */
export class Worker {
  private readonly files: TaskFiles;
  private readonly managers = new Map<string, TaskManager>();
  /** By task id. */
  private readonly removing = new Map<string, Removal>();
  private readonly secrets = new Map<string, Secret>();
  private readonly configs = new Map<string, Config>();
  private readonly listeners = new Set<WorkerListener>();
  private readonly life = lifeAbort();
  private synced = false;
  private sweep: Promise<void> = Promise.resolve();

  constructor(private readonly options: WorkerOptions) {
    const directory = join(options.stateDirectory, 'worker', 'tasks');
    this.files = new TaskFiles(directory, options.environment.clock, options.logger);
  }

  /** Reads the task files and begins to watch what they name. */
  async start(): Promise<void> {
    this.options.executor.start();
    for (const task of await this.files.load()) {
      if (isTaskId(task.id)) this.addManager(task, true);
    }
  }

  /** Stops driving all tasks; containers stay. */
  async stop(): Promise<void> {
    this.life.abort();
    const effects = [...this.managers.values()].map((manager) => manager.close());
    const removals = [...this.removing.values()].map((removal) => removal.done);
    await this.within(STOP_TIMEOUT_MS, Promise.all([...effects, ...removals, this.sweep]));
    await this.files.flush();
    await this.options.executor.stop();
  }

  /**
   * Leaves the cluster: removes all tasks and their containers, waiting a bounded time. As in
   * Docker the containers are killed: their grace periods could hold the node for ever.
   */
  async leave(): Promise<void> {
    const killed = [...this.removing.values()].map(({ manager }) => this.kill(manager));
    for (const id of [...this.managers.keys()]) this.remove(id, { force: true });
    const removals = [...this.removing.values()].map((removal) => removal.done);
    await this.within(LEAVE_TIMEOUT_MS, Promise.all([...killed, ...removals]));
    try {
      await this.removeUnclaimed({ force: true });
    } catch (error) {
      // Leaving must work without an engine as well; what is left is named by its labels.
      const text = SkepError.from(error).message;
      this.options.logger.error({ error: text }, 'left-over containers not removed');
    }
  }

  /** Waits for `work`, but not longer than `limitMs`. */
  private async within(limitMs: number, work: Promise<unknown>): Promise<void> {
    const limit = new AbortController();
    const timeout = sleep(this.options.environment.clock, limitMs, limit.signal);
    await Promise.race([work, timeout.catch(() => undefined)]);
    limit.abort();
  }

  /** Follows states; returns the unsubscriber. */
  listen(listener: WorkerListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** All tasks with their status, to report to a new session. */
  tasks(): readonly Task[] {
    return [...this.managers.values()].map((manager) => manager.task);
  }

  /** The effects of a task, for its log. */
  controllerOf(taskId: string): TaskController | undefined {
    return this.managers.get(taskId)?.controller;
  }

  /** Applies one message of the Assignments stream; its sequence was checked by the session. */
  apply(message: AssignmentsMessage): void {
    if (message.type === MessageType.COMPLETE) this.applyComplete(message.changes);
    else for (const change of message.changes) this.applyChange(change);
  }

  private applyComplete(changes: readonly AssignmentChange[]): void {
    const named = new Set<string>();
    this.secrets.clear();
    this.configs.clear();
    for (const change of ordered(changes)) {
      const item = change.assignment?.item;
      if (item?.case === 'task' && change.action === Action.UPDATE) named.add(item.value.id);
      this.applyChange(change);
    }
    for (const id of [...this.managers.keys()]) if (!named.has(id)) this.remove(id);
    if (this.synced) return;
    this.synced = true;
    for (const manager of this.managers.values()) manager.release();
    this.sweep = this.sweepLater();
  }

  private applyChange(change: AssignmentChange): void {
    const item = change.assignment?.item;
    const update = change.action === Action.UPDATE;
    switch (item?.case) {
      case 'task':
        if (update) this.assign(item.value);
        else this.remove(item.value.id);
        return;
      case 'secret':
        this.depend(this.secrets, item.value, update);
        return;
      case 'config':
        this.depend(this.configs, item.value, update);
        return;
      case 'volume':
        this.options.logger.warn({ volumeId: item.value.id }, 'cluster volumes are not supported');
        return;
      case undefined:
        this.options.logger.warn({}, 'assignment of an unknown kind');
        return;
    }
  }

  private depend<D extends Secret | Config>(held: Map<string, D>, item: D, update: boolean): void {
    if (!update) held.delete(item.id);
    else if (held.size < DEPENDENCIES_MAX) held.set(item.id, item);
    else this.options.logger.error({ id: item.id }, 'too many secrets or configs');
  }

  private assign(task: Task): void {
    if (!isTaskId(task.id)) {
      this.options.logger.error({}, 'task with an impossible id ignored');
      return;
    }
    const removal = this.removing.get(task.id);
    const manager = this.managers.get(task.id);
    if (removal !== undefined) removal.next = task;
    else if (manager === undefined) this.add(task);
    else {
      manager.update(task);
      this.files.save(manager.task);
    }
  }

  private add(task: Task): void {
    if (this.managers.size >= TASKS_MAX) this.refuse(task, 'too many tasks on this node');
    else this.addManager(task, false);
  }

  private addManager(task: Task, held: boolean): void {
    let controller: TaskController;
    try {
      controller = this.options.executor.controller(task, {
        // A driver may have given a value for this task only.
        secret: (id) => this.secrets.get(taskSecretId(id, task.id)) ?? this.secrets.get(id),
        config: (id) => this.configs.get(id),
      });
    } catch (error) {
      this.refuse(task, SkepError.from(error).message);
      return;
    }
    const manager = new TaskManager({
      task,
      controller,
      held,
      clock: this.options.environment.clock,
      logger: this.options.logger,
      onStatus: (changed) => this.publish(changed),
    });
    this.managers.set(task.id, manager);
    if (!held) this.files.save(manager.task);
    manager.start();
  }

  private refuse(task: Task, err: string): void {
    const status = create(TaskStatusSchema, {
      timestamp: timestampFromMs(this.options.environment.clock.nowMs()),
      state: TaskState.REJECTED,
      message: 'preparing',
      err,
    });
    for (const listener of this.listeners) listener.onStatus({ ...task, status });
  }

  private publish(task: Task): void {
    if (this.managers.has(task.id)) this.files.save(task);
    for (const listener of this.listeners) listener.onStatus(task);
  }

  private remove(taskId: string, options: RemoveOptions = { force: false }): void {
    const manager = this.managers.get(taskId);
    if (manager === undefined) {
      const removal = this.removing.get(taskId);
      if (removal !== undefined) removal.next = undefined;
      return;
    }
    this.managers.delete(taskId);
    const removal: Removal = { manager, next: undefined, done: Promise.resolve() };
    this.removing.set(taskId, removal);
    for (const listener of this.listeners) listener.onRemoved(taskId);
    removal.done = this.finishRemoval(manager, options).then(() => {
      this.removing.delete(taskId);
      if (removal.next !== undefined && !this.life.signal.aborted) this.add(removal.next);
    });
  }

  /** Ends a container whatever its task is doing; what that misses, its removal finds. */
  private async kill(manager: TaskManager): Promise<void> {
    try {
      await manager.controller.remove(this.life.signal, { force: true });
    } catch (error) {
      const fields = { taskId: manager.task.id, error: SkepError.from(error).message };
      this.options.logger.debug(fields, 'container not killed at once');
    }
  }

  /** Removes until it worked: a container left behind would run for ever. */
  private async finishRemoval(manager: TaskManager, options: RemoveOptions): Promise<void> {
    const closed = manager.close();
    // A stop under way would hold us for its grace period.
    if (options.force) await this.kill(manager);
    await closed;
    const { clock } = this.options.environment;
    while (!this.life.signal.aborted) {
      try {
        await manager.controller.remove(this.life.signal, options);
        this.files.forget(manager.task.id);
        return;
      } catch (error) {
        if (this.life.signal.aborted) return;
        const fields = { taskId: manager.task.id, error: SkepError.from(error).message };
        this.options.logger.warn(fields, 'task not removed yet');
        await sleep(clock, TASK_RETRY_MS, this.life.signal).catch(() => undefined);
      }
    }
  }

  private async sweepLater(): Promise<void> {
    while (!this.life.signal.aborted) {
      try {
        await this.removeUnclaimed({ force: false });
        return;
      } catch (error) {
        const text = SkepError.from(error).message;
        this.options.logger.warn({ error: text }, 'left-over containers not looked for yet');
        await sleep(this.options.environment.clock, TASK_RETRY_MS, this.life.signal).catch(
          () => undefined,
        );
      }
    }
  }

  /** Containers of tasks of ours that no assignment names. */
  private async removeUnclaimed(options: RemoveOptions): Promise<void> {
    for (const found of await this.options.executor.findContainers()) {
      if (this.managers.has(found.taskId) || this.removing.has(found.taskId)) continue;
      this.options.logger.info(found, 'removing the container of a forgotten task');
      await this.options.executor.removeContainer(found.containerId, options);
    }
  }
}

/** Secrets and configs first: a task may need those of its own message. */
function ordered(changes: readonly AssignmentChange[]): readonly AssignmentChange[] {
  const isTask = (change: AssignmentChange): boolean => change.assignment?.item.case === 'task';
  return [...changes.filter((c) => !isTask(c)), ...changes.filter(isTask)];
}
