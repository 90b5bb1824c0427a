/**
 * Runs tasks on one Docker Engine. Container tasks get a {@link DockerController}; attachments of
 * plain containers to attachable networks are only tracked.
 */
import type Docker from 'dockerode';
import type { SocketBinds } from '../model/engine-socket.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  GenericResource,
  NodeDescription,
  NodeTLSInfo,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { NodeFacts } from '../model/template/expansion.js';
import type { WatchProcess } from '../native/process-watch.js';
import { heldPorts } from '../network/port-holders.js';
import type { NodeNetworking } from '../network/types.js';
import type { Logger } from '../observe/logger.js';
import { Gate } from './async.js';
import { lookAt } from './readiness-probe.js';
import { AttachmentController } from './attachment-controller.js';
import { type ControllerContext, DockerController } from './docker-controller.js';
import { EngineClient } from './engine-client.js';
import { EngineWatch } from './engine-watch.js';
import { HostPortNumbers } from './host-port-numbers.js';
import type {
  Dependencies,
  Executor,
  FoundContainer,
  RemoveOptions,
  TaskController,
} from './executor.js';
import { ImagePuller } from './image-puller.js';
import { registryAuthHeader } from './registry-credentials.js';
import {
  ENGINE_OPERATIONS_MAX,
  ENGINE_STOPS_MAX,
  READINESS_LOOKS_MAX,
  STOP_GRACE_DEFAULT_S,
} from './limits.js';
import { NODE_ID_LABEL, TASK_ID_LABEL } from './container-labels.js';
import { describeNode } from './node-description.js';
import { SecretMounts } from './secret-mounts.js';

/** What the executor needs. */
export interface DockerExecutorOptions {
  readonly docker: Docker;
  readonly network: NodeNetworking;
  readonly environment: Environment;
  readonly logger: Logger;
  /** This node's id: only containers labelled with it are ours. */
  readonly nodeId: string;
  /** Skep's version, told to managers as engine label `skep.agent`. */
  readonly version: string;
  /** A directory on a memory file system, seen by the engine under the same path. */
  readonly secretsDirectory: string;
  /** Which binds of the engine's socket become binds of skepd's. */
  readonly sockets: SocketBinds;
  /** DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1. */
  readonly preferOfflineImage: boolean;
  /** User-defined resources of this node. */
  readonly genericResources: readonly GenericResource[];
  /** The node's TLS facts, as part of its description. */
  readonly tlsInfo: () => NodeTLSInfo | undefined;
  /** Tells of the end of a container's first process. */
  readonly watchProcess: WatchProcess;
}

/** {@link Executor} over dockerode. */
export class DockerExecutor implements Executor {
  private readonly client: EngineClient;
  private readonly context: ControllerContext;
  private description: NodeDescription | undefined;

  constructor(private readonly options: DockerExecutorOptions) {
    const { environment, logger } = options;
    this.client = new EngineClient(options.docker);
    const { clock } = environment;
    const looks = { client: this.client, clock, gate: new Gate(READINESS_LOOKS_MAX) };
    this.context = {
      client: this.client,
      watch: new EngineWatch(this.client, environment, logger),
      puller: new ImagePuller(
        this.client,
        environment.clock,
        logger,
        options.preferOfflineImage,
        registryAuthHeader,
      ),
      network: options.network,
      secrets: new SecretMounts(options.secretsDirectory),
      sockets: options.sockets,
      nodeFacts: () => this.nodeFacts(),
      heldPorts,
      watchProcess: options.watchProcess,
      portNumbers: new HostPortNumbers(),
      operations: new Gate(ENGINE_OPERATIONS_MAX),
      stops: new Gate(ENGINE_STOPS_MAX),
      lookAt: (wanted, target, signal) => lookAt(looks, wanted, target, signal),
      clock,
      logger,
    };
  }

  start(): void {
    this.context.watch.start();
  }

  async stop(): Promise<void> {
    this.context.puller.stop();
    await this.context.watch.stop();
  }

  async describe(): Promise<NodeDescription> {
    const { version, tlsInfo, genericResources } = this.options;
    const own = { version, tlsInfo: tlsInfo(), genericResources };
    this.description = describeNode(await this.client.info(), own);
    return this.description;
  }

  /** As told to the managers last. */
  private async nodeFacts(): Promise<NodeFacts> {
    const { hostname, platform } = this.description ?? (await this.describe());
    return { hostname, architecture: platform?.architecture ?? '', os: platform?.os ?? '' };
  }

  controller(task: Task, dependencies: Dependencies): TaskController {
    switch (task.spec?.runtime.case) {
      case 'container':
        return new DockerController(this.context, task, dependencies);
      case 'attachment':
        return new AttachmentController(task);
      default:
        throw new SkepError('invalid_argument', 'unsupported runtime');
    }
  }

  async findContainers(): Promise<readonly FoundContainer[]> {
    const label = `${NODE_ID_LABEL}=${this.options.nodeId}`;
    const found = await this.client.list([label, TASK_ID_LABEL]);
    return found.map((container) => ({
      containerId: container.id,
      taskId: container.labels[TASK_ID_LABEL] ?? '',
    }));
  }

  async removeContainer(containerId: string, options: RemoveOptions): Promise<void> {
    if (!options.force) {
      await this.client.stop(containerId, STOP_GRACE_DEFAULT_S).catch((error: unknown) => {
        if (SkepError.from(error).code !== 'not_found') throw error;
      });
    }
    await this.client.remove(containerId);
  }
}
