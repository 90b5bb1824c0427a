/**
 * What the Docker API needs from the daemon behind it. The composition root implements
 * {@link SwarmMembership}; this room never builds managers or agents itself.
 */
import type { Writable } from 'node:stream';
import type { Cluster, Network } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Control, LogSource } from '../manager/control/types.js';
import type { AttachmentAllocator, NetworkSight, NodeNetworking } from '../network/types.js';
import type { Store } from '../store/types.js';

/** Docker's LocalNodeState. */
export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

/** `POST /swarm/init`, after JSON checks; addresses as the user wrote them. */
export interface InitRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly dataPathPort: number;
  readonly defaultAddrPool: readonly string[];
  readonly subnetSize: number;
  readonly forceNewCluster: boolean;
  readonly autoLockManagers: boolean;
  readonly availability: 'active' | 'pause' | 'drain';
  /** Docker's swarm Spec as JSON; converted by src/api before it is stored. */
  readonly applySpec: (cluster: Cluster) => Cluster;
}

/** `POST /swarm/join`. */
export interface JoinRequest {
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  readonly remoteAddrs: readonly string[];
  readonly joinToken: string;
  readonly availability: 'active' | 'pause' | 'drain';
}

/** The part of a running manager that the API uses. */
export interface ManagerAccess {
  readonly control: Control;
  readonly store: Store;
  readonly logs: LogSource;
  /**
   * Resolves when what is read here is what the managers agreed upon, through an election if need
   * be. @throws SkepError unknown `The swarm does not have a leader. …` after `timeoutMs`
   */
  readonly agreed: (timeoutMs?: number) => Promise<void>;
}

/** Facts for `/info` and `/_ping`. */
export interface SwarmStatus {
  readonly state: LocalNodeState;
  readonly nodeId: string;
  readonly nodeAddr: string;
  readonly controlAvailable: boolean;
  readonly error: string;
  /** Managers known to this node: id and `host:port`. */
  readonly remoteManagers: readonly { readonly nodeId: string; readonly addr: string }[];
}

/** This host's place in a swarm. Errors carry Docker's own texts (reference: daemon/cluster/errors.go). */
export interface SwarmMembership {
  status(): SwarmStatus;
  /** Makes a new cluster; resolves with the node id once its manager answers. */
  init(request: InitRequest): Promise<string>;
  /** @throws SkepError deadline_exceeded after 20 s, going on in the background, as Docker does */
  join(request: JoinRequest): Promise<void>;
  leave(options: { readonly force: boolean }): Promise<void>;
  /** @throws SkepError unavailable (503) `This node is not a swarm manager. …` | not part of a swarm | locked */
  manager(): ManagerAccess;
  /** Key for `swarm unlock-key`; unlocking a locked manager. */
  unlockKey(): Promise<string>;
  unlock(key: string): Promise<void>;
  /** Writes this manager's state as a tar archive and ends `target`. @throws as {@link manager} */
  backup(target: Writable, signal: AbortSignal): Promise<void>;
  /** For attachable networks; available on workers too. */
  readonly attachments: AttachmentAllocator;
  readonly network: NodeNetworking;
  /** What this node's data path does. @throws SkepError without a swarm, or before there is one */
  readonly sight: NetworkSight;
  /**
   * An attachable network by name or id on a node that is no manager, as the cluster knows it.
   * Without this member such networks can be used on workers only while they exist there.
   * @throws SkepError permission_denied `network %s not manually attachable`
   */
  readonly findAttachable?: (nameOrId: string) => Promise<Network | undefined>;
}
