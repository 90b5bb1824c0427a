/**
 * Delivers task states to whichever manager the node has a session with. Per task only the latest
 * state waits (states are a clock, an older one says nothing more); it is kept until a manager
 * has taken it, over any number of sessions.
 */
import type { Clock } from '../model/environment.js';
import type { SkepError } from '../model/errors.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, type TaskStatus } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../observe/logger.js';
import { fromRpcError } from '../rpc/errors.js';
import type { ManagerConnection } from '../rpc/types.js';
import { childAbort, sleep, WakeFlag } from './async.js';
import { STATUS_BATCH_MAX, STATUS_GATHER_MS, STATUS_TIMEOUT_MS } from './limits.js';

/** The states not delivered yet. */
export class StatusReporter {
  private readonly pending = new Map<string, TaskStatus>();
  private readonly wake = new WakeFlag();
  /** A state came that somebody waits for. */
  private readonly hurry = new WakeFlag();

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** The task's state is to be told; replaces an older one of the same task. */
  enqueue(task: Task): void {
    if (task.status === undefined) return;
    this.pending.set(task.id, task.status);
    if (isAwaited(task)) this.hurry.raise();
    this.wake.raise();
  }

  /** The manager took the task away: nobody wants its state any more. */
  forget(taskId: string): void {
    this.pending.delete(taskId);
  }

  /** Number of tasks whose state is not delivered. */
  get size(): number {
    return this.pending.size;
  }

  /**
   * Delivers until `signal` aborts.
   * @throws SkepError of the manager; what was not taken stays
   */
  async run(
    dispatcher: ManagerConnection['dispatcher'],
    sessionId: string,
    signal: AbortSignal,
  ): Promise<never> {
    for (;;) {
      while (this.pending.size === 0) await this.wake.wait(signal);
      await this.gather(signal);
      const batch = [...this.pending].slice(0, STATUS_BATCH_MAX);
      await this.send(dispatcher, sessionId, batch, signal);
    }
  }

  /** Waits a little for what follows, unless there is a state that somebody waits for. */
  private async gather(signal: AbortSignal): Promise<void> {
    const wait = childAbort(signal);
    const pause = sleep(this.clock, STATUS_GATHER_MS, wait.controller.signal);
    const hurry = this.hurry.wait(wait.controller.signal);
    try {
      await Promise.race([pause, hurry]);
    } finally {
      wait.controller.abort();
      wait.release();
      await Promise.allSettled([pause, hurry]);
    }
  }

  private async send(
    dispatcher: ManagerConnection['dispatcher'],
    sessionId: string,
    batch: readonly (readonly [string, TaskStatus])[],
    signal: AbortSignal,
  ): Promise<void> {
    const updates = batch.map(([taskId, status]) => ({ taskId, status }));
    try {
      await dispatcher.updateTaskStatus(
        { sessionId, updates },
        { signal, timeoutMs: STATUS_TIMEOUT_MS },
      );
    } catch (thrown) {
      await this.refused(fromRpcError(thrown), dispatcher, sessionId, batch, signal);
      return;
    }
    this.delivered(batch);
  }

  /** One foreign task makes a manager refuse the whole call: find it, and drop only it. */
  private async refused(
    error: SkepError,
    dispatcher: ManagerConnection['dispatcher'],
    sessionId: string,
    batch: readonly (readonly [string, TaskStatus])[],
    signal: AbortSignal,
  ): Promise<void> {
    if (error.code !== 'permission_denied') throw error;
    if (batch.length === 1) {
      this.logger.warn({ taskId: batch[0]?.[0], error: error.message }, 'task state refused');
      this.delivered(batch);
      return;
    }
    for (const entry of batch) await this.send(dispatcher, sessionId, [entry], signal);
  }

  private delivered(batch: readonly (readonly [string, TaskStatus])[]): void {
    for (const [taskId, status] of batch) {
      if (this.pending.get(taskId) === status) this.pending.delete(taskId);
    }
  }
}

/**
 * Whether anything goes on because of this state: the task has come as far as it should, or it has ended.
 * Those before follow each other within moments, each a call and a write of all managers.
 */
function isAwaited({ status, desiredState }: Task): boolean {
  if (status === undefined) return false;
  return status.state >= TaskState.RUNNING || status.state >= desiredState || status.err !== '';
}
