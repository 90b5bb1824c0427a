/**
 * One node's networking as the rest of skepd sees it: networks on the engine, endpoints of tasks,
 * announcements to the cluster, names and published ports. Implemented by NodeNetwork in this room.
 */
import type {
  Network,
  NetworkAttachment,
  Node,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { EncryptionKey, PortConfig } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type {
  ConnectionRow,
  CounterRow,
  DatapathState,
  TraceFilter,
  TraceRow,
} from '../native/datapath-types.js';
import type { DirectReport } from './direct/types.js';
import type { PathReport } from './paths/types.js';
import type { RepairCounts } from './repairer.js';
import type { BalancePolicy } from '../model/balance-policy.js';
import type { PublishRule } from '../model/publish-rules.js';
import type { ReturnPath } from '../model/return-path.js';

/** What a session with a manager tells about this node's networking. */
export interface NodeNetworkConfig {
  /** This node's object: id, and per-network attachments (load-balancer addresses, with the full Network). */
  readonly node: Node;
  /** Gossip keys (subsystem `networking:gossip`). */
  readonly keys: readonly EncryptionKey[];
  /** Addresses (no port) of the managers, to join the gossip ring through. */
  readonly managerAddresses: readonly string[];
  /**
   * Addresses of all other nodes where this one manages them: without another manager nobody else can
   * tell them where this one is.
   */
  readonly memberAddresses: readonly string[];
}

/** What of a task may change while it runs. */
export interface TaskPublication {
  /** Virtual IPs of the service by network id (`a.b.c.d/len`); none in dnsrr mode. */
  readonly virtualIps: readonly { readonly networkId: string; readonly address: string }[];
  /** All published ports of the task, ingress and host mode. */
  readonly ports: readonly PortConfig[];
  /** Rules of the service's `skep.publish` labels, by published port. */
  readonly rules: ReadonlyMap<number, PublishRule>;
  /** How its service chooses among its tasks. */
  readonly policy: BalancePolicy;
  /** How replies of its published ports return to outside clients. */
  readonly returnPath: ReturnPath;
}

/** A task as the network sees it. */
export interface TaskEndpoint extends TaskPublication {
  readonly taskId: string;
  readonly taskName: string;
  readonly containerId: string;
  /** Host name of the container, empty where it has none of its own. */
  readonly hostname: string;
  readonly serviceId: string;
  readonly serviceName: string;
  /** The task's attachments: network, addresses, aliases. */
  readonly attachments: readonly NetworkAttachment[];
}

/** Engine-level settings for a container's attachments, made before `POST /containers/create`. */
export interface ContainerNetworking {
  /** By network name on the engine: id there and fixed address. The first is HostConfig.NetworkMode. */
  readonly endpoints: readonly {
    readonly engineNetworkName: string;
    readonly engineNetworkId: string;
    readonly address: string;
  }[];
  /** Value of HostConfig.Dns: our resolver's address; empty when no overlay network is attached. */
  readonly dnsServers: readonly string[];
}

/** Networking of one node. */
export interface NodeNetworking {
  /** Serves the plugin socket, takes over pinned state; before any container of ours starts. */
  start(): Promise<void>;
  /** Stops serving; the data path stays in force. */
  stop(): Promise<void>;
  /** Applies what the session told: ingress attachment, keys, peers. Called on each session message. */
  configure(config: NodeNetworkConfig): Promise<void>;
  /**
   * Where the session with the managers stands: the tasks that are to run here, once told in it;
   * undefined when it has ended.
   */
  followSession(assigned: ReadonlySet<string> | undefined): void;
  /** The managers have removed this node: it goes off the swarm's networks at once. */
  expelled(): void;
  /** Leaves the cluster: gossip good-bye, engine networks, endpoints and data path removed. */
  leave(): Promise<void>;
  /**
   * Makes the networks of a task exist on the engine; idempotent. With `taskId`, `deactivate`
   * also takes back what was prepared for a task that was never activated.
   */
  prepareTask(
    attachments: readonly NetworkAttachment[],
    taskId?: string,
  ): Promise<ContainerNetworking>;
  /**
   * Task runs and is healthy: DNS, balancers and ports on all nodes may use it. One that this node knows
   * already, from before a restart, keeps its readiness.
   */
  activate(endpoint: TaskEndpoint): Promise<void>;
  /**
   * Whether the task may have traffic, while it runs on: without it no new connections, old ones go on.
   * @param unready why it may not; undefined: it may
   */
  setReadiness(taskId: string, unready: string | undefined): Promise<void>;
  /** Before the stop signal: no new connections, old ones go on; resolves once spread (bounded). */
  drain(taskId: string): Promise<void>;
  /** Task is gone. Removes its announcements, and networks nobody uses here any more. */
  deactivate(taskId: string): Promise<void>;
  /** The published ports of a running task changed, and nothing else. */
  republish(taskId: string, publication: TaskPublication): Promise<void>;
  /** For `docker run --network <attachable>`: makes the swarm network exist on the engine; its engine id. */
  ensureAttachable(network: Network): Promise<string>;
}

/** A task of this node that is out of traffic while it runs. */
export interface UnreadyTask {
  readonly taskId: string;
  readonly taskName: string;
  readonly serviceName: string;
  readonly addresses: readonly string[];
  readonly reason: string;
}

/** What this node's data path does, read without disturbing it. */
export interface NetworkSight {
  /** Drop reasons and forwarding counters since the maps were made. */
  counters(): readonly CounterRow[];
  /** What the gossip thread has counted since it started, and how long its queues are, by name. */
  gossip(): Readonly<Record<string, number>>;
  /** What had to be put back since skepd started. */
  repairs(): RepairCounts;
  /** The paths to the other nodes, as the self-test finds them. */
  paths(): PathReport;
  /** Where replies of services may go straight to their clients, and where not. */
  direct(): DirectReport;
  /** Tasks of this node that run and are not ready. */
  unready(): readonly UnreadyTask[];
  /** Rows in force: networks, nodes, endpoints, backends, services. */
  rows(): DatapathState;
  /** Flows through services, at most `max` of them. */
  connections(max: number): readonly ConnectionRow[];
  /** Follows the packets of some flows until `signal` aborts. One trace at a time on a node. */
  trace(filter: TraceFilter, signal: AbortSignal): AsyncIterable<readonly TraceRow[]>;
}

/** Address allocation for attachable networks, done by a manager (SwarmKit's ResourceAllocator). */
export interface AttachmentAllocator {
  /** Resolves with attachment id and addresses (`a.b.c.d/len`) once the allocator has them. */
  attach(
    networkId: string,
    containerId: string,
    addresses: readonly string[],
  ): Promise<{
    readonly attachmentId: string;
    readonly addresses: readonly string[];
  }>;
  detach(attachmentId: string): Promise<void>;
}
