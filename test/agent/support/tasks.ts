/** Tasks and other parts for the agent's tests. */
import { create } from '@bufbuild/protobuf';
import { type Task, TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import type {
  ContainerNetworking,
  NodeNetworkConfig,
  NodeNetworking,
  TaskEndpoint,
  TaskPublication,
} from '../../../src/network/types.js';

let counter = 0;

/** A fresh task id. */
export function newTaskId(): string {
  counter += 1;
  return `task${String(process.pid)}x${String(counter)}`.padEnd(25, '0');
}

/** An assigned container task; `container` and `parts` replace what they name. */
export function containerTask(container: object, parts: object = {}): Task {
  const id = newTaskId();
  return create(TaskSchema, {
    id,
    nodeId: 'node1',
    serviceId: 'service1',
    slot: 1n,
    serviceAnnotations: { name: 'web' },
    desiredState: TaskState.RUNNING,
    status: { state: TaskState.ASSIGNED },
    spec: {
      runtime: { case: 'container', value: { image: 'skep-test/web:1', ...container } },
    },
    ...parts,
  });
}

/** The same task with another desired state. */
export function desiring(task: Task, desiredState: TaskState): Task {
  return { ...task, desiredState };
}

/** Networking that only remembers what it was asked, for tasks on no network or on none real. */
export class RecordedNetworking implements NodeNetworking {
  /** Tasks told in the present session. */
  assigned: ReadonlySet<string> | undefined;

  followSession(assigned: ReadonlySet<string> | undefined): void {
    this.assigned = assigned;
  }

  expelled(): void {
    this.calls.push('expelled');
  }

  readonly calls: string[] = [];
  readonly endpoints = new Map<string, TaskEndpoint>();
  configs: NodeNetworkConfig[] = [];
  networking: ContainerNetworking = { endpoints: [], dnsServers: [] };
  /** What the end of an activation waits for. */
  activating: Promise<void> = Promise.resolve();

  start(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  configure(config: NodeNetworkConfig): Promise<void> {
    this.configs.push(config);
    return Promise.resolve();
  }

  leave(): Promise<void> {
    return Promise.resolve();
  }

  prepareTask(): Promise<ContainerNetworking> {
    this.calls.push('prepare');
    return Promise.resolve(this.networking);
  }

  async activate(endpoint: TaskEndpoint): Promise<void> {
    this.calls.push(`activate ${endpoint.taskId}`);
    await this.activating;
    this.endpoints.set(endpoint.taskId, endpoint);
  }

  /** Tasks out of traffic, and why. */
  readonly unready = new Map<string, string>();

  setReadiness(taskId: string, unready: string | undefined): Promise<void> {
    if (this.unready.get(taskId) === unready) return Promise.resolve();
    this.calls.push(`${unready === undefined ? 'ready' : 'unready'} ${taskId}`);
    if (unready === undefined) this.unready.delete(taskId);
    else this.unready.set(taskId, unready);
    return Promise.resolve();
  }

  /** What the end of a drain waits for. */
  draining: Promise<void> = Promise.resolve();

  drain(taskId: string): Promise<void> {
    this.calls.push(`drain ${taskId}`);
    return this.draining;
  }

  deactivate(taskId: string): Promise<void> {
    this.calls.push(`deactivate ${taskId}`);
    this.endpoints.delete(taskId);
    return Promise.resolve();
  }

  republish(taskId: string, { ports }: TaskPublication): Promise<void> {
    this.calls.push(`ports ${taskId} ${ports.length}`);
    return Promise.resolve();
  }

  ensureAttachable(): Promise<string> {
    return Promise.resolve('');
  }
}
