/**
 * What this node must remember about its own endpoints across a crash: networks, endpoints the
 * engine made, addresses promised to tasks, leases of attachable containers, and what is announced.
 */
import type { BalancePolicy } from '../model/balance-policy.js';
import type { ReturnPath } from '../model/return-path.js';
import { SkepError } from '../model/errors.js';
import type { NetworkInfo } from './network-info.js';
import type { RecordPort } from './records.js';
import { StateFile } from './state-file.js';

/** A network known here, and its twin on the engine if there is one. */
export interface LocalNetwork {
  readonly info: NetworkInfo;
  readonly engineId?: string;
}

/** An endpoint the engine created, from CreateEndpoint to DeleteEndpoint. */
export interface LocalEndpoint {
  /** The engine's endpoint id; also its key in the gossip tables. */
  readonly id: string;
  readonly networkId: string;
  readonly vni: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly mac: string;
  /** Host side of its veth pair while joined. */
  readonly interfaceName?: string;
  /** The container's network namespace while joined: endpoints of one container share it. */
  readonly sandbox?: string;
  /** This endpoint carries its container's default route. */
  readonly defaultRoute: boolean;
  /** This endpoint, of an internal network, carries the way to the name server. */
  readonly nameRoute?: boolean;
}

/** An address a manager gave to a task that is about to start here. */
export interface PlannedAddress {
  readonly networkId: string;
  readonly address: string;
  readonly defaultRoute: boolean;
  /** The task it is for; empty when the caller did not say. */
  readonly taskId: string;
  /** Wall clock, for clearing promises of tasks that never came. */
  readonly plannedAtMs: number;
}

/** An address a manager gave to a plain container on an attachable network. */
export interface Lease {
  readonly networkId: string;
  readonly address: string;
  readonly attachmentId: string;
}

/** A port of a task, published on all nodes or on this one. */
export interface LocalPort extends RecordPort {
  readonly mode: 'ingress' | 'host';
}

/** A task whose endpoints are announced. */
export interface LocalTask {
  readonly taskId: string;
  readonly taskName: string;
  readonly containerId: string;
  readonly serviceId: string;
  readonly serviceName: string;
  readonly attachments: readonly {
    readonly networkId: string;
    readonly address: string;
    readonly aliases: readonly string[];
    /** Plain; empty in dnsrr mode. */
    readonly virtualIp: string;
  }[];
  readonly ports: readonly LocalPort[];
  /** Absent in documents of older versions: `maglev`. */
  readonly policy?: BalancePolicy;
  /** Absent in documents of older versions: `tunnel`. */
  readonly returnPath?: ReturnPath;
  /** Short container id and host name. */
  readonly taskAliases: readonly string[];
  readonly draining: boolean;
  /** Why it is out of traffic while it runs on; absent: it is ready. */
  readonly unready?: string;
}

/** A plain container on an attachable network, announced by name only. */
export interface LocalContainer {
  readonly endpointId: string;
  readonly containerId: string;
  readonly name: string;
  readonly aliases: readonly string[];
}

/** This node in the cluster. */
export interface LocalNode {
  readonly id: string;
  readonly attachments: readonly {
    readonly networkId: string;
    readonly address: string;
    readonly prefixLength: number;
  }[];
}

/** The document on disk. */
interface Document {
  readonly version: 1;
  readonly node?: LocalNode | undefined;
  readonly networks: readonly LocalNetwork[];
  readonly endpoints: readonly LocalEndpoint[];
  readonly planned: readonly PlannedAddress[];
  readonly leases: readonly Lease[];
  readonly tasks: readonly LocalTask[];
  readonly containers: readonly LocalContainer[];
  /** By owner; absent in documents of older versions. */
  readonly ownerTunnels?: Readonly<Record<string, readonly string[]>>;
}

/** Identity of an address in a network. */
export function placeKey(networkId: string, address: string): string {
  return `${networkId}/${address}`;
}

/** In memory as maps, on disk as one document. Change the maps, then `save`. */
export class LocalState {
  node: LocalNode | undefined;
  /** By swarm network id. */
  readonly networks = new Map<string, LocalNetwork>();
  /** By endpoint id. */
  readonly endpoints = new Map<string, LocalEndpoint>();
  /** By place. */
  readonly planned = new Map<string, PlannedAddress>();
  /** By place. */
  readonly leases = new Map<string, Lease>();
  /** By task id. */
  readonly tasks = new Map<string, LocalTask>();
  /** By endpoint id. */
  readonly containers = new Map<string, LocalContainer>();
  /** Tunnels of other nodes, by their swarm id (see owner-tunnels.ts). */
  ownerTunnels: ReadonlyMap<string, readonly string[]> = new Map();
  /**
   * Ids of endpoints that are fenced (see fence.ts): here, but on no network. Not on disk: a new process
   * finds their links down, and puts them up with the first contact.
   */
  readonly fenced = new Set<string>();
  private readonly file: StateFile;

  constructor(file: string) {
    this.file = new StateFile(file, () => this.document());
  }

  /** Reads what the last process left. @throws SkepError `data_loss` */
  async load(): Promise<void> {
    const value = await this.file.load();
    if (value === undefined) return;
    const document = value as Document;
    if (document.version !== 1) throw new SkepError('data_loss', 'unknown network state version');
    this.node = document.node;
    for (const row of document.networks) this.networks.set(row.info.id, row);
    for (const row of document.endpoints) this.endpoints.set(row.id, row);
    for (const row of document.planned) this.planned.set(placeKey(row.networkId, row.address), row);
    for (const row of document.leases) this.leases.set(placeKey(row.networkId, row.address), row);
    for (const row of document.tasks) this.tasks.set(row.taskId, row);
    for (const row of document.containers) this.containers.set(row.endpointId, row);
    this.ownerTunnels = new Map(Object.entries(document.ownerTunnels ?? {}));
  }

  /** Resolves once the present state is on disk. */
  save(): Promise<void> {
    return this.file.save();
  }

  /** Forgets everything, on disk too. */
  async clear(): Promise<void> {
    this.node = undefined;
    for (const map of [this.networks, this.endpoints, this.planned, this.leases]) map.clear();
    this.tasks.clear();
    this.containers.clear();
    this.ownerTunnels = new Map();
    this.fenced.clear();
    await this.file.remove();
  }

  /** The network whose twin has this id. */
  networkOfTwin(engineId: string): LocalNetwork | undefined {
    return [...this.networks.values()].find((network) => network.engineId === engineId);
  }

  /** The endpoint with this address. */
  endpointAt(networkId: string, address: string): LocalEndpoint | undefined {
    return [...this.endpoints.values()].find(
      (endpoint) => endpoint.networkId === networkId && endpoint.address === address,
    );
  }

  /** Whether the endpoint has a container, and is on its network. */
  isServing(endpoint: LocalEndpoint | undefined): endpoint is LocalEndpoint {
    return endpoint?.interfaceName !== undefined && !this.fenced.has(endpoint.id);
  }

  /** Endpoints of the container that owns a sandbox. */
  endpointsIn(sandbox: string): readonly LocalEndpoint[] {
    return [...this.endpoints.values()].filter((endpoint) => endpoint.sandbox === sandbox);
  }

  /** True while a task is on the network here or is about to be. */
  isPromised(networkId: string): boolean {
    const uses = (row: { readonly networkId: string }) => row.networkId === networkId;
    return (
      [...this.planned.values()].some(uses) ||
      [...this.tasks.values()].some(({ attachments }) => attachments.some(uses))
    );
  }

  /** True while a task, an endpoint or a promise needs the network here. */
  isInUse(networkId: string): boolean {
    const uses = (row: { readonly networkId: string }) => row.networkId === networkId;
    return (
      [...this.endpoints.values()].some(uses) ||
      [...this.planned.values()].some(uses) ||
      [...this.leases.values()].some(uses) ||
      [...this.tasks.values()].some(({ attachments }) => attachments.some(uses))
    );
  }

  private document(): Document {
    return {
      version: 1,
      node: this.node,
      networks: [...this.networks.values()],
      endpoints: [...this.endpoints.values()],
      planned: [...this.planned.values()],
      leases: [...this.leases.values()],
      tasks: [...this.tasks.values()],
      containers: [...this.containers.values()],
      ownerTunnels: Object.fromEntries(this.ownerTunnels),
    };
  }
}
