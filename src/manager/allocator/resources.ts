/**
 * All that is allocated in the cluster, as a function of the store: each network, service, task
 * and node holds what its object says. What is allocated but not stored yet is held too, and
 * forgotten by observing the stored object again.
 */
import { DEFAULT_ADDRESS_POOL, DEFAULT_SUBNET_SIZE } from '../../model/defaults.js';
import type {
  Cluster,
  Network,
  NetworkAttachment,
  Node,
  Service,
  Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type IPAMConfig,
  type PortConfig,
  PortConfig_PublishMode as PublishMode,
  PortConfig_Protocol as Protocol,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  type AddressRange,
  hasAddress,
  parseFixedAddress,
  reservedOf,
} from '../../model/fixed-addresses.js';
import {
  firstAddress,
  formatIpv4,
  type IpPrefix,
  lastAddress,
  parseIpPrefix,
  parseIpv4,
} from '../../model/ip-prefix.js';
import { publishRules, scopesOverlap } from '../../model/publish-rules.js';
import { TUNNEL_PORT_DEFAULT } from '../../model/swarm-ports.js';
import { isOver } from '../../model/task-state.js';
import { DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST, VNI_FIRST, VNI_LAST } from './limits.js';
import { SerialPool } from './serial-pool.js';
import { type AddressPools, Subnets, subnetsOf } from './subnets.js';

/** Driver state option that carries a network's VXLAN identifiers. */
export const VXLAN_ID_LIST = 'com.docker.network.driver.overlay.vxlanid_list';

/** One thing held: its pool and the number in it. */
interface Holding {
  readonly pool: SerialPool;
  readonly number: number;
  /** Of a published port: its `skep.publish.<port>.address`; undefined is every address. */
  readonly scope?: string | undefined;
}

/** The IPv4 subnets of a network. */
interface NetworkSpace {
  /** Given to those only whose labels ask for them. */
  readonly reserved: readonly AddressRange[];
  readonly subnets: readonly { readonly prefix: IpPrefix; readonly addresses: SerialPool }[];
}

/** Which address of a network is wanted. */
export type AddressWish =
  | { readonly kind: 'any' }
  /** This one, by a container on an attachable network; none that is reserved. */
  | { readonly kind: 'requested'; readonly address: string }
  /** This one, by a label; one that is reserved. */
  | { readonly kind: 'fixed'; readonly address: number };

/**
 * Who holds something: `task/ID`, `service/ID`, `node/ID`, `network/ID`; `quarantine/...` for what
 * nobody may have for a while.
 */
export type Owner =
  `${'task' | 'service' | 'node' | 'network' | 'cluster' | 'quarantine'}/${string}`;

/** What is allocated, and to whom. */
export class Resources {
  readonly #subnets = new Subnets();
  readonly #vnis = new SerialPool(VNI_FIRST, VNI_LAST);
  readonly #ports = new Map<Protocol, SerialPool>();
  readonly #spaces = new Map<string, NetworkSpace>();
  readonly #holdings = new Map<Owner, readonly Holding[]>();
  #pools = addressPools(undefined);

  get subnets(): Subnets {
    return this.#subnets;
  }

  get pools(): AddressPools {
    return this.#pools;
  }

  /** Published ports of one protocol. */
  ports(protocol: Protocol): SerialPool {
    let pool = this.#ports.get(protocol);
    if (pool === undefined) {
      pool = new SerialPool(DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST);
      this.#ports.set(protocol, pool);
    }
    return pool;
  }

  /** Whether addresses of the network can be given out. */
  hasSpace(networkId: string): boolean {
    return this.#spaces.has(networkId);
  }

  /** Owners that hold something; for tests of leaks. */
  owners(): readonly Owner[] {
    return [...this.#holdings.keys()];
  }

  /** The cluster's address pools apply to subnets cut from now on. */
  observeCluster(cluster: Cluster): void {
    this.#pools = addressPools(cluster);
    // Tunnels have it on every node.
    const number = cluster.VXLANUDPPort || TUNNEL_PORT_DEFAULT;
    this.#hold(`cluster/${cluster.id}`, [{ pool: this.ports(Protocol.UDP), number }]);
  }

  /** @returns whether something became free, as all `observe…` do */
  observeNetwork(network: Network): boolean {
    const owner: Owner = `network/${network.id}`;
    const subnets = subnetsOf(network);
    this.#subnets.set(network.id, subnets);
    if (subnets.length === 0) {
      const had = this.#spaces.delete(network.id);
      return this.#hold(owner, []) || had;
    }
    if (!this.#spaces.has(network.id)) this.#spaces.set(network.id, networkSpace(network));
    const vnis = vniList(network.driverState?.options[VXLAN_ID_LIST] ?? '');
    return this.#hold(
      owner,
      vnis.map((number) => ({ pool: this.#vnis, number })),
    );
  }

  /** See {@link observeNetwork}. */
  forgetNetwork(networkId: string): boolean {
    this.#subnets.set(networkId, []);
    const had = this.#spaces.delete(networkId);
    return this.#hold(`network/${networkId}`, []) || had;
  }

  /** See {@link observeNetwork}. */
  observeService(service: Service): boolean {
    const { ports = [], virtualIps = [] } = service.endpoint ?? {};
    const held = virtualIps.flatMap((vip) => this.#address(vip.networkId, vip.addr));
    const rules = publishRules(service.spec?.annotations?.labels);
    for (const port of ports) {
      if (!isIngressPort(port) || port.publishedPort === 0) continue;
      const { protocol, publishedPort: number } = port;
      held.push({ pool: this.ports(protocol), number, scope: rules.get(number)?.scope });
    }
    return this.#hold(`service/${service.id}`, held);
  }

  /**
   * See {@link observeNetwork}. A task that is over holds nothing, one that was given up with its node
   * nothing that is reserved.
   */
  observeTask(task: Task, isGivenUp = false): boolean {
    const networks = isGivenUp
      ? task.networks.map((each) => this.#unreserved(each))
      : task.networks;
    return this.#hold(`task/${task.id}`, isOver(task) ? [] : this.#addresses(networks));
  }

  #unreserved(attachment: NetworkAttachment): NetworkAttachment {
    const { reserved = [] } = this.#spaces.get(attachment.network?.id ?? '') ?? {};
    const addresses = attachment.addresses.filter((text) => {
      const address = parseIpv4(text.split('/')[0] ?? '');
      return address === undefined || !hasAddress(reserved, Number(address));
    });
    return { ...attachment, addresses };
  }

  /** See {@link observeNetwork}. */
  observeNode(node: Node): boolean {
    return this.#hold(`node/${node.id}`, this.#addresses(node.attachments));
  }

  /** After a rebuild: allocation goes on behind what is in use, so that nothing is reused soon. */
  resume(networks: readonly Network[]): void {
    this.#vnis.resumeBehindHighest();
    for (const pool of this.#ports.values()) pool.resumeBehindHighest();
    for (const { subnets } of this.#spaces.values()) {
      for (const { addresses } of subnets) addresses.resumeBehindHighest();
    }
    for (const network of networks) {
      const chosenByUser = (network.spec?.ipam?.configs ?? []).some(({ subnet }) => subnet !== '');
      if (chosenByUser) continue;
      for (const subnet of subnetsOf(network)) this.#subnets.resumeBehind(subnet, this.#pools);
    }
  }

  /**
   * What `owner` holds stays held when it is forgotten, until `quarantine/OWNER` is forgotten too.
   * @returns that name; undefined if it holds nothing
   */
  quarantine(owner: Owner): Owner | undefined {
    const held = this.#holdings.get(owner);
    if (held === undefined) return undefined;
    const name: Owner = `quarantine/${owner}`;
    this.#hold(name, held);
    return name;
  }

  /** Holds what a task had that is over, until the name returned is forgotten. */
  quarantineTask(task: Task): Owner {
    const name: Owner = `quarantine/task/${task.id}`;
    this.#hold(name, this.#addresses(task.networks));
    return name;
  }

  /** Frees all that `owner` holds. */
  forget(owner: Owner): boolean {
    return this.#hold(owner, []);
  }

  /**
   * Gives `owner` an address of the network, as `10.0.1.5/24`.
   * @returns undefined when it, or every one, is taken or not for this wish
   */
  allocateAddress(
    networkId: string,
    owner: Owner,
    wish: AddressWish = { kind: 'any' },
  ): string | undefined {
    const { subnets = [], reserved = [] } = this.#spaces.get(networkId) ?? {};
    for (const { prefix, addresses } of subnets) {
      const number =
        wish.kind === 'any' ? addresses.next() : takeWished(wish, { prefix, addresses, reserved });
      if (number === undefined) continue;
      this.#add(owner, { pool: addresses, number });
      return `${formatIpv4(BigInt(number))}/${prefix.length}`;
    }
    return undefined;
  }

  /**
   * Gives `owner` a published port.
   * @param requested take this one or none; 0 for any
   * @param scope the address it is for; services with different ones may have the same port
   * @returns undefined when it, or every one, is taken
   */
  allocatePort(
    protocol: Protocol,
    requested: number,
    owner: Owner,
    scope?: string,
  ): number | undefined {
    const pool = this.ports(protocol);
    if (requested !== 0 && this.#isPortTaken(pool, requested, scope)) return undefined;
    const number = requested === 0 ? pool.next() : requested;
    if (number === undefined) return undefined;
    if (requested !== 0) pool.take(requested);
    this.#add(owner, { pool, number, scope });
    return number;
  }

  /** Looks at all holders only if the port is held at all. */
  #isPortTaken(pool: SerialPool, number: number, scope: string | undefined): boolean {
    if (pool.isFree(number)) return false;
    for (const holdings of this.#holdings.values()) {
      for (const held of holdings) {
        if (held.pool !== pool || held.number !== number) continue;
        if (scopesOverlap(held.scope, scope)) return true;
      }
    }
    return false;
  }

  /**
   * Gives `owner` a VXLAN identifier.
   * @param requested take this one or none
   * @returns undefined when it, or every one, is taken
   */
  allocateVni(owner: Owner, requested?: number): number | undefined {
    if (requested !== undefined && !this.#vnis.isFree(requested)) return undefined;
    const number = requested ?? this.#vnis.next();
    if (number === undefined) return undefined;
    if (requested !== undefined) this.#vnis.take(requested);
    this.#add(owner, { pool: this.#vnis, number });
    return number;
  }

  #add(owner: Owner, holding: Holding): void {
    this.#holdings.set(owner, [...(this.#holdings.get(owner) ?? []), holding]);
  }

  #addresses(attachments: readonly NetworkAttachment[]): Holding[] {
    return attachments.flatMap(({ network, addresses }) =>
      addresses.flatMap((address) => this.#address(network?.id ?? '', address)),
    );
  }

  #address(networkId: string, text: string): Holding[] {
    const address = parseIpPrefix(text);
    if (address === undefined) return [];
    const space = this.#spaces
      .get(networkId)
      ?.subnets.find(({ prefix }) => covers(prefix, address));
    if (space === undefined) return [];
    return [{ pool: space.addresses, number: Number(address.address) }];
  }

  /** Replaces what `owner` holds; returns whether something became free. */
  #hold(owner: Owner, wanted: readonly Holding[]): boolean {
    const before = this.#holdings.get(owner) ?? [];
    for (const { pool, number } of wanted) pool.take(number);
    for (const { pool, number } of before) pool.release(number);
    if (wanted.length === 0) this.#holdings.delete(owner);
    else this.#holdings.set(owner, wanted);
    return before.some(({ pool, number }) => pool.isFree(number));
  }
}

/** Whether the port is reachable on every node. */
export function isIngressPort(port: PortConfig): boolean {
  return port.publishMode === PublishMode.INGRESS;
}

/** Identifiers from `4096,4097`; malformed parts are left out. */
export function vniList(text: string): readonly number[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => /^\d{1,8}$/.test(part))
    .map(Number);
}

function addressPools(cluster: Cluster | undefined): AddressPools {
  const texts = cluster?.defaultAddressPool ?? [];
  const pools = (texts.length === 0 ? [DEFAULT_ADDRESS_POOL] : texts)
    .flatMap((text) => parseIpPrefix(text) ?? [])
    .filter((pool) => pool.version === 4);
  const subnetSize = cluster?.subnetSize ?? 0;
  return { pools, subnetSize: subnetSize === 0 ? DEFAULT_SUBNET_SIZE : subnetSize };
}

function networkSpace(network: Network): NetworkSpace {
  const reserved = reservedOf(network);
  const subnets = (network.ipam?.configs ?? []).flatMap((config) => {
    const prefix = parseIpPrefix(config.subnet);
    if (prefix?.version !== 4) return [];
    return [{ prefix, addresses: addressesOf(prefix, config, reserved) }];
  });
  return { subnets, reserved };
}

/** Addresses for tasks: those of the range, or all but the subnet's first and last. */
function addressesOf(
  prefix: IpPrefix,
  config: IPAMConfig,
  reserved: readonly AddressRange[],
): SerialPool {
  const range = parseIpPrefix(config.range) ?? prefix;
  const first = Number(firstAddress(prefix));
  const last = Number(lastAddress(prefix));
  const pool = new SerialPool(
    Math.max(first + 1, Number(firstAddress(range))),
    Math.min(last - 1, Number(lastAddress(range))),
    reserved,
  );
  for (const text of [config.gateway, ...Object.values(config.reserved)]) {
    const address = parseIpv4(text.split('/')[0] ?? '');
    if (address !== undefined) pool.take(Number(address));
  }
  return pool;
}

function takeWished(
  wish: Exclude<AddressWish, { kind: 'any' }>,
  subnet: NetworkSpace['subnets'][number] & Pick<NetworkSpace, 'reserved'>,
): number | undefined {
  const { prefix, addresses, reserved } = subnet;
  const number =
    wish.kind === 'fixed' ? wish.address : parseFixedAddress(wish.address.split('/')[0] ?? '');
  if (number === undefined || hasAddress(reserved, number) !== (wish.kind === 'fixed'))
    return undefined;
  if (!covers(prefix, { version: 4, address: BigInt(number), length: 32 })) return undefined;
  if (!addresses.isFree(number)) return undefined;
  addresses.take(number);
  return number;
}

/** Whether `address` is one of the subnet's, its first and last excepted. */
function covers(prefix: IpPrefix, { version, address }: IpPrefix): boolean {
  if (version !== prefix.version) return false;
  return address > firstAddress(prefix) && address < lastAddress(prefix);
}
