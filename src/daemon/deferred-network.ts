/**
 * Node networking that opens the packet side once its UDP port is known: a joining node learns the
 * port with its first session message, a resumed one has it on record.
 */
import type { Network, NetworkAttachment } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { SkepError } from '../model/errors.js';
import type { DataPathFamily } from '../model/labels/keys.js';
import type { Logger } from '../observe/logger.js';
import { dataPathFamilyOf } from '../network/from-swarmkit.js';
import type {
  ContainerNetworking,
  NetworkSight,
  NodeNetworkConfig,
  NodeNetworking,
  TaskEndpoint,
  TaskPublication,
} from '../network/types.js';

/** Networking that also knows for how long other nodes have been silent. */
export interface WatchfulNetwork extends NodeNetworking {
  silenceMs(nodeId: string): number;
  addressOf(nodeId: string): string | undefined;
  readonly sight: NetworkSight;
}

/** What a session tells about the swarm's data path. */
export interface DataPathFacts {
  readonly port: number;
  /** Undefined: not said. */
  readonly family: DataPathFamily | undefined;
}

/** Makes the real networking of a data path, and notes what it is made for; not started yet. */
export type OpenNetwork = (dataPath: DataPathFacts) => Promise<WatchfulNetwork>;

/** Networking that is there as soon as it can be. */
export class DeferredNetwork implements WatchfulNetwork {
  private opened: Promise<WatchfulNetwork> | undefined;
  private ready: WatchfulNetwork | undefined;
  private openPort = 0;
  private failure: SkepError | undefined;

  constructor(
    private readonly parts: {
      readonly open: OpenNetwork;
      /** Recorded port of a node that was here before; 0: not known. */
      readonly recordedPort: number;
      readonly logger: Logger;
    },
  ) {}

  async start(): Promise<void> {
    const { recordedPort } = this.parts;
    if (recordedPort !== 0) await this.ensureOpen({ port: recordedPort, family: undefined });
  }

  async stop(): Promise<void> {
    const network = await this.openedOrNone();
    await network?.stop();
  }

  async leave(): Promise<void> {
    const network = await this.openedOrNone();
    this.opened = undefined;
    this.ready = undefined;
    await network?.leave();
  }

  async configure(config: NodeNetworkConfig): Promise<void> {
    const port = config.node.VXLANUDPPort;
    if (this.opened === undefined) {
      await this.ensureOpen({ port, family: dataPathFamilyOf(config.node) });
    } else if (port !== this.openPort) {
      this.parts.logger.error(
        { port, inUse: this.openPort },
        'the cluster uses another data path port: leave the swarm and join again to change it',
      );
    }
    await (await this.require()).configure(config);
  }

  followSession(assigned: ReadonlySet<string> | undefined): void {
    this.ready?.followSession(assigned);
  }

  expelled(): void {
    this.ready?.expelled();
  }

  async prepareTask(
    attachments: readonly NetworkAttachment[],
    taskId?: string,
  ): Promise<ContainerNetworking> {
    // Tasks without networks need nothing of ours, and must not wait for a manager's word.
    if (attachments.length === 0) return { endpoints: [], dnsServers: [] };
    return await (await this.require()).prepareTask(attachments, taskId);
  }

  async activate(endpoint: TaskEndpoint): Promise<void> {
    if (endpoint.attachments.length > 0) await (await this.require()).activate(endpoint);
  }

  async setReadiness(taskId: string, unready: string | undefined): Promise<void> {
    await (await this.openedOrNone())?.setReadiness(taskId, unready);
  }

  async drain(taskId: string): Promise<void> {
    await (await this.openedOrNone())?.drain(taskId);
  }

  async deactivate(taskId: string): Promise<void> {
    await (await this.openedOrNone())?.deactivate(taskId);
  }

  async republish(taskId: string, publication: TaskPublication): Promise<void> {
    await (await this.require()).republish(taskId, publication);
  }

  async ensureAttachable(network: Network): Promise<string> {
    return await (await this.require()).ensureAttachable(network);
  }

  addressOf(nodeId: string): string | undefined {
    return this.ready?.addressOf(nodeId);
  }

  silenceMs(nodeId: string): number {
    return this.ready?.silenceMs(nodeId) ?? Number.POSITIVE_INFINITY;
  }

  /** @throws SkepError unavailable until the data path is open */
  get sight(): NetworkSight {
    if (this.ready === undefined) throw untold();
    return this.ready.sight;
  }

  /** @throws SkepError why the packet side could not be opened when it was tried last */
  requireOpen(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  private async openAndStart(dataPath: DataPathFacts): Promise<WatchfulNetwork> {
    const network = await this.parts.open(dataPath);
    await network.start();
    this.ready = network;
    return network;
  }

  private async ensureOpen(dataPath: DataPathFacts): Promise<WatchfulNetwork> {
    if (this.opened !== undefined) return await this.opened;
    this.openPort = dataPath.port;
    const opening = this.openAndStart(dataPath);
    this.opened = opening;
    try {
      const network = await opening;
      this.failure = undefined;
      return network;
    } catch (error) {
      // The next session message tries again, say after a taken port was freed.
      this.opened = undefined;
      this.failure = SkepError.from(error);
      throw error;
    }
  }

  private async require(): Promise<WatchfulNetwork> {
    if (this.opened === undefined) throw untold();
    return await this.opened;
  }

  private async openedOrNone(): Promise<WatchfulNetwork | undefined> {
    try {
      return await this.opened;
    } catch {
      return undefined; // Opening failed, and whoever asked for it was told.
    }
  }
}

function untold(): SkepError {
  return new SkepError('unavailable', 'the node has not been told its networks by a manager yet');
}
