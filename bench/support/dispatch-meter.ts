/**
 * What a service takes inside the manager that places it: until its tasks are handed to the connections of
 * their nodes. What comes after is the agents', who in `bench/fleet` share processors with the manager.
 */
import { PerformanceObserver, performance } from 'node:perf_hooks';
import {
  AssignmentChange_AssignmentAction as Action,
  type AssignmentsMessage,
} from '../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { Dispatcher } from '../../src/manager/dispatcher/dispatcher.js';

/** Milliseconds, from the request to create on. */
export interface ManagerShare {
  /** The service is stored. */
  readonly createdMs: number;
  /** The last task is handed to its node's connection. */
  readonly sentMs: number;
  /** Of that, the event loop was busy, with whatever. */
  readonly busyMs: number;
  /** Processor time of all threads meanwhile. */
  readonly cpuMs: number;
  /** Of that, garbage was collected. */
  readonly collectingMs: number;
}

/** Observes all dispatchers of this process; to be made before them. */
export class DispatchMeter {
  private awaited: { left: number; readonly done: () => void } | undefined;
  private collectedMs = 0;

  constructor() {
    const own = Object.getOwnPropertyDescriptor(Dispatcher.prototype, 'assignments');
    const assignments = own?.value as Dispatcher['assignments'];
    const onSent = (message: AssignmentsMessage): void => this.onSent(message);
    Dispatcher.prototype.assignments = async function* (
      this: Dispatcher,
      ...call: Parameters<Dispatcher['assignments']>
    ) {
      for await (const message of assignments.apply(this, call)) {
        yield message;
        // It is asked for the next once this one has been written.
        onSent(message);
      }
    };
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) this.collectedMs += duration;
    }).observe({ entryTypes: ['gc'] });
  }

  /** Runs `create`, which makes a service of so many tasks, and waits until nodes are sent them; one at a time. */
  async measure(tasks: number, create: () => Promise<void>): Promise<ManagerShare> {
    const collectedMs = this.collectedMs;
    const loop = performance.eventLoopUtilization();
    const cpu = process.cpuUsage();
    const beganMs = performance.now();
    let sentMs = 0;
    let busyMs = 0;
    let cpuMs = 0;
    const sent = new Promise<void>((resolve) => {
      const done = (): void => {
        sentMs = performance.now() - beganMs;
        busyMs = performance.eventLoopUtilization(loop).active;
        const { user, system } = process.cpuUsage(cpu);
        cpuMs = (user + system) / 1000;
        resolve();
      };
      this.awaited = { left: tasks, done };
    });
    await create();
    const createdMs = performance.now() - beganMs;
    await sent;
    // Observers are told after the fact.
    await new Promise((resolve) => setImmediate(resolve));
    return { createdMs, sentMs, busyMs, cpuMs, collectingMs: this.collectedMs - collectedMs };
  }

  private onSent({ changes }: AssignmentsMessage): void {
    const { awaited } = this;
    if (awaited === undefined) return;
    for (const { assignment, action } of changes)
      if (
        action === Action.UPDATE &&
        assignment?.item.case === 'task' &&
        // Tasks that ran before come again with other news.
        (assignment.item.value.status?.state ?? 0) === TaskState.ASSIGNED
      )
        awaited.left -= 1;
    if (awaited.left > 0) return;
    this.awaited = undefined;
    awaited.done();
  }
}
