/**
 * Node networking that opens the packet side once its UDP port is known: a joining node learns the
 * port with its first session message, a resumed one has it on record.
 */
import type { Network, NetworkAttachment } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
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
  readonly sight: NetworkSight;
}

/** Makes the real networking for a data path port; not started yet. */
export type OpenNetwork = (dataPathPort: number) => Promise<WatchfulNetwork>;

/** Networking that is there as soon as it can be. */
export class DeferredNetwork implements WatchfulNetwork {
  private opened: Promise<WatchfulNetwork> | undefined;
  private ready: WatchfulNetwork | undefined;
  private openPort = 0;

  constructor(
    private readonly parts: {
      readonly open: OpenNetwork;
      /** Recorded port of a node that was here before; 0: not known. */
      readonly recordedPort: number;
      /** Told once when the port is learnt. */
      readonly onPort: (dataPathPort: number) => void;
      readonly logger: Logger;
    },
  ) {}

  async start(): Promise<void> {
    if (this.parts.recordedPort !== 0) await this.ensureOpen(this.parts.recordedPort);
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
      await this.ensureOpen(port);
      this.parts.onPort(port);
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

  silenceMs(nodeId: string): number {
    return this.ready?.silenceMs(nodeId) ?? Number.POSITIVE_INFINITY;
  }

  /** @throws SkepError unavailable until the data path is open */
  get sight(): NetworkSight {
    if (this.ready === undefined) throw untold();
    return this.ready.sight;
  }

  private async openAndStart(port: number): Promise<WatchfulNetwork> {
    const network = await this.parts.open(port);
    await network.start();
    this.ready = network;
    return network;
  }

  private async ensureOpen(port: number): Promise<WatchfulNetwork> {
    if (this.opened !== undefined) return await this.opened;
    this.openPort = port;
    const opening = this.openAndStart(port);
    this.opened = opening;
    try {
      return await opening;
    } catch (error) {
      // The next session message tries again, say after a taken port was freed.
      this.opened = undefined;
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
