/**
 * The task that stands for a plain container on an attachable network. The container is the
 * user's; the task only holds its address, and ends when the manager says so.
 */
import type { LogSubscriptionOptions } from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { abortedError } from './async.js';
import type { LogLine, RuntimeFacts, TaskController } from './executor.js';

/** Effects of an attachment task: none, but for the wait. */
export class AttachmentController implements TaskController {
  constructor(private task: Task) {}

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  wait(signal: AbortSignal): Promise<void> {
    return new Promise((_resolve, reject) => {
      const end = (): void => reject(abortedError());
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true });
    });
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  update(task: Task): Promise<void> {
    this.task = task;
    return Promise.resolve();
  }

  facts(): RuntimeFacts | undefined {
    const runtime = this.task.spec?.runtime;
    if (runtime?.case !== 'attachment') return undefined;
    return { containerId: runtime.value.containerId, pid: 0, exitCode: 0, hostPorts: [] };
  }

  cpuTimeNs(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async *logs(_options: LogSubscriptionOptions, _signal: AbortSignal): AsyncIterable<LogLine> {
    // A plain container's log is read from its engine.
  }
}
