/**
 * A task's place on the swarm's networks and its published ports, from before its container is made until
 * it is gone: what the network is told of it, and what of its ports is reported.
 */
import { clone } from '@bufbuild/protobuf';
import { SkepError } from '../model/errors.js';
import type { NetworkAttachment, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type PortConfig,
  PortConfigSchema,
  PortConfig_Protocol as Protocol,
  TaskState,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { taskName } from '../model/naming.js';
import { publishRules } from '../model/publish-rules.js';
import { type HeldPort, holderName, type PortRun } from '../network/port-holders.js';
import type {
  ContainerNetworking,
  NodeNetworking,
  TaskEndpoint,
  TaskPublication,
} from '../network/types.js';
import {
  engineBoundPorts,
  enginePort,
  hostPorts,
  isHostPort,
  predefinedNetwork,
} from './container-config.js';
import type { ContainerState } from './engine-client.js';
import { type HostPortNumbers, wantsNumber } from './host-port-numbers.js';
import { publicationOf, publicationText } from './task-publication.js';

/** What the networking of all tasks of a node shares. */
export interface TaskNetworkingContext {
  readonly network: NodeNetworking;
  readonly portNumbers: HostPortNumbers;
  /** Of ports of this host: those that a process has. */
  readonly heldPorts: (runs: readonly PortRun[]) => readonly HeldPort[];
}

/** Of one task. */
export class TaskNetworking {
  private networked = false;
  private networking: ContainerNetworking | undefined;
  private active = false;
  /** What the network was told last, to see whether it changed. */
  private published = '';
  /** Since it was told so last: who asks for the drain once more waits for the same one. */
  private draining: Promise<void> | undefined;
  /** The task's ports, with the numbers that this node gave those without one. */
  private ports: readonly PortConfig[];

  constructor(
    private readonly context: TaskNetworkingContext,
    private task: Task,
  ) {
    this.ports = task.status?.portStatus?.ports ?? [];
    context.portNumbers.adopt(task.id, this.ports);
  }

  /** Whether the network has been told that the task runs. */
  get isActive(): boolean {
    return this.active;
  }

  /** The task's attachments, those to the engine's own networks left out. */
  get attachments(): readonly NetworkAttachment[] {
    return this.task.networks.filter((a) => predefinedNetwork(a.network) === undefined);
  }

  /** Has the task's networks made on the engine; undefined if it is on none. */
  async prepare(): Promise<ContainerNetworking | undefined> {
    const { attachments } = this;
    if (attachments.length === 0) return undefined;
    this.networked = true;
    this.networking ??= await this.context.network.prepareTask(attachments, this.task.id);
    return this.networking;
  }

  /** The container runs and is healthy: traffic may come, also again after a drain. */
  async enter(state: ContainerState): Promise<void> {
    if (this.attachments.length === 0) return;
    if (this.active && this.draining === undefined) return;
    this.networked = true;
    const endpoint = this.endpoint(state, await this.publication());
    this.active = false;
    this.draining = undefined;
    await this.context.network.activate(endpoint);
    this.active = true;
    this.published = publicationText(endpoint);
    // The task may have changed while the network was being told of it.
    await this.republish();
  }

  /** A new version of the task. */
  async update(task: Task): Promise<void> {
    this.task = task;
    if (this.active) await this.republish();
    // While the network is told of the task: what it hears follows, the report must not wait for it.
    else if (task.status?.state === TaskState.RUNNING) await this.publication();
  }

  /**
   * No new traffic from now on; resolves once all nodes know. The task may leave meanwhile. One that
   * failed is tried again by the next call.
   */
  async drain(): Promise<void> {
    if (this.attachments.length === 0) return;
    this.draining ??= this.context.network.drain(this.task.id).catch((thrown: unknown) => {
      this.draining = undefined;
      throw SkepError.from(thrown);
    });
    await this.draining;
  }

  /** The container does not run any more. */
  async leave(): Promise<void> {
    if (!this.networked && this.attachments.length === 0) return;
    await this.context.network.deactivate(this.task.id);
    this.context.portNumbers.release(this.task.id);
    this.networked = false;
    this.networking = undefined;
    this.active = false;
  }

  /**
   * A host-mode port that a process of this host holds fails the task, as Docker Engine's own
   * binding would. Those the engine binds, and those of single addresses, are not looked at.
   * @throws SkepError that names the process
   */
  requireHostPorts(): void {
    if (engineBoundPorts(this.task).length > 0) return;
    const { portNumbers } = this.context;
    for (const port of hostPorts(this.task)) {
      if (!portNumbers.isGivenToOther(this.task.id, port)) continue;
      const name = enginePort({ ...port, targetPort: port.publishedPort });
      const text = `port ${name} of this node is in use by another task`;
      throw new SkepError('failed_precondition', text);
    }
    const rules = publishRules(this.task.serviceAnnotations?.labels);
    const runs = hostPorts(this.task).flatMap((port): PortRun[] => {
      const isScoped = rules.get(port.publishedPort)?.scope !== undefined;
      if (port.protocol === Protocol.SCTP || wantsNumber(port) || isScoped) return [];
      const protocol = port.protocol === Protocol.UDP ? 'udp' : 'tcp';
      return [{ protocol, port: port.publishedPort, count: 1 }];
    });
    const [held] = runs.length === 0 ? [] : this.context.heldPorts(runs);
    if (held === undefined) return;
    const name = `${held.port}/${held.run.protocol}`;
    throw new SkepError(
      'failed_precondition',
      `port ${name} of this node is in use by ${holderName(held.holder)}`,
    );
  }

  /** Host-mode ports as they are bound now, with their numbers. */
  boundPorts(state: ContainerState): readonly PortConfig[] {
    if (!state.running) return [];
    if (engineBoundPorts(this.task).length === 0) {
      const ports = this.ports.length > 0 ? this.ports : (this.task.endpoint?.ports ?? []);
      return ports.filter((port) => isHostPort(port) && !wantsNumber(port));
    }
    return engineBoundPorts(this.task).flatMap((port) => {
      const [bound] = state.ports[enginePort(port)] ?? [];
      if (bound === undefined) return [];
      const copy = clone(PortConfigSchema, port);
      copy.publishedPort = bound;
      return [copy];
    });
  }

  /** Tells the network what of the task's publication changed since it was told last. */
  private async republish(): Promise<void> {
    if (!this.active) return;
    const publication = await this.publication();
    const text = publicationText(publication);
    if (!this.active || text === this.published) return;
    const before = this.published;
    this.published = text;
    try {
      await this.context.network.republish(this.task.id, publication);
    } catch (error) {
      this.published = before;
      throw error;
    }
  }

  private async publication(): Promise<TaskPublication> {
    const { task, ports } = this;
    const { portNumbers } = this.context;
    const wanted = task.endpoint?.ports ?? [];
    const numbered = await portNumbers.number(task.id, wanted, ports);
    // A newer version of the task may have its own meanwhile.
    if (this.task === task) this.ports = numbered;
    return publicationOf(task, numbered);
  }

  private endpoint(state: ContainerState, publication: TaskPublication): TaskEndpoint {
    const { task } = this;
    return {
      taskId: task.id,
      taskName: taskName(task),
      containerId: state.id,
      hostname: state.hostname,
      serviceId: task.serviceId,
      serviceName: task.serviceAnnotations?.name ?? '',
      attachments: this.attachments,
      ...publication,
    };
  }
}
