/**
 * The network half of the plugin: endpoints are veth pairs whose host side carries the BPF
 * programs and whose other side the engine moves into the container.
 */
import { SkepError } from '../../model/errors.js';
import type { Datapath, Netlink, RouteInside } from '../../native/datapath-types.js';
import type { Logger } from '../../observe/logger.js';
import { isMac, macOf, parseAddressWithPrefix } from '../addresses.js';
import { WIREGUARD_OVERHEAD_BYTES } from '../limits.js';
import { type LocalEndpoint, type LocalState, type LocalTask, placeKey } from '../local-state.js';
import {
  ipv6Of,
  NETWORK_ID_LABEL,
  type NetworkInfo,
  type SubnetInfo,
  subnetOf,
} from '../network-info.js';
import { object, type PluginHandler, type PluginRequest, requiredText, text } from './messages.js';

/** Where libnetwork puts driver options. */
const GENERIC_OPTIONS = 'com.docker.network.generic';
/** Device names: prefix and the first characters of the endpoint id, 13 of 15 possible. */
const HOST_SIDE_PREFIX = 'skv';
const CONTAINER_SIDE_PREFIX = 'skp';
const ID_LENGTH_IN_NAME = 10;
/** Of routes we add in a container later: those of the engine, which has its own idea of them, go before. */
const PASSED_ON_METRIC = 4096;

type HeirRoute = Omit<RouteInside, 'namespace' | 'metric'>;

/** What the driver works with. */
export interface NetworkDriverParts {
  readonly state: LocalState;
  readonly datapath: Pick<Datapath, 'containerMtu' | 'attachLink' | 'detachLink'>;
  readonly netlink: Pick<
    Netlink,
    'createVethPair' | 'setLinkUp' | 'deleteLink' | 'linkNames' | 'setPairMtu' | 'setRouteInside'
  >;
  /** Of the name server, for containers that have no default route. */
  readonly dnsAddress: string;
  readonly logger: Logger;
  /** Bytes a packet grows by on the underlay. */
  readonly tunnelOverheadBytes: number;
  /** An endpoint joined or left its container. */
  readonly onChange: (endpoint: LocalEndpoint) => void;
}

/** True for names of devices this driver makes. */
export function isEndpointDevice(name: string): boolean {
  return new RegExp(`^(${HOST_SIDE_PREFIX}|${CONTAINER_SIDE_PREFIX})[0-9a-f]{10}$`).test(name);
}

/** Devices of an endpoint, the host side first. */
export function endpointDeviceNames(endpointId: string): readonly string[] {
  const { hostSide, containerSide } = deviceNames(endpointId);
  return [hostSide, containerSide];
}

/** Handlers by plugin path. */
export class NetworkDriver {
  private readonly parts: NetworkDriverParts;
  /** Largest MTU that all containers here are known to keep to. */
  private fittedMtu: number | undefined;

  constructor(parts: NetworkDriverParts) {
    this.parts = parts;
  }

  /** Everything the engine may call on a network driver. */
  handlers(): readonly (readonly [string, PluginHandler])[] {
    const nothing: PluginHandler = () => ({});
    return [
      // `local`: networks are made engine by engine, by us; the engine needs no key-value store.
      ['/NetworkDriver.GetCapabilities', () => ({ Scope: 'local', ConnectivityScope: 'global' })],
      ['/NetworkDriver.CreateNetwork', (request) => this.createNetwork(request)],
      ['/NetworkDriver.DeleteNetwork', (request) => this.deleteNetwork(request)],
      ['/NetworkDriver.CreateEndpoint', (request) => this.createEndpoint(request)],
      ['/NetworkDriver.DeleteEndpoint', (request) => this.deleteEndpoint(request)],
      ['/NetworkDriver.EndpointOperInfo', () => ({ Value: {} })],
      ['/NetworkDriver.Join', (request) => this.join(request)],
      ['/NetworkDriver.Leave', (request) => this.leave(request)],
      ['/NetworkDriver.ProgramExternalConnectivity', nothing],
      ['/NetworkDriver.RevokeExternalConnectivity', nothing],
      ['/NetworkDriver.DiscoverNew', nothing],
      ['/NetworkDriver.DiscoverDelete', nothing],
    ];
  }

  /** Lets go of an endpoint's devices; safe to repeat. */
  detach(endpoint: LocalEndpoint): void {
    const { datapath, netlink } = this.parts;
    const { hostSide } = deviceNames(endpoint.id);
    // The device first: its programs go with it, and taking them off by themselves costs one more
    // wait for the kernel's readers.
    netlink.deleteLink(hostSide);
    datapath.detachLink(hostSide);
  }

  /**
   * Endpoints whose device is gone: their container died while the engine was away. The engine
   * tells later; the balancers must not wait for it.
   */
  releaseVanished(): void {
    const { state, netlink, datapath, onChange } = this.parts;
    const joined = [...state.endpoints.values()].filter((each) => each.interfaceName !== undefined);
    if (joined.length === 0) return;
    const devices = new Set(netlink.linkNames());
    for (const endpoint of joined) {
      const { interfaceName = '', sandbox: _sandbox, nameRoute: _route, ...rest } = endpoint;
      if (devices.has(interfaceName)) continue;
      datapath.detachLink(interfaceName);
      const left: LocalEndpoint = { ...rest, defaultRoute: false };
      state.endpoints.set(endpoint.id, left);
      onChange(left);
    }
  }

  /**
   * Gives running containers the MTU that new ones get, once the underlay has another one: what their kernels
   * cut to size by themselves, UDP above all, would be lost in the tunnel. Those that are just
   * starting or ending are tried again by the next call.
   */
  fitContainers(): void {
    const { state, netlink, datapath, tunnelOverheadBytes, logger } = this.parts;
    const most = datapath.containerMtu;
    if (this.fittedMtu === most) return;
    let failures = 0;
    for (const { networkId, interfaceName, sandbox } of state.endpoints.values()) {
      const info = state.networks.get(networkId)?.info;
      if (info === undefined || interfaceName === undefined || sandbox === undefined) continue;
      const mtu = containerMtu(info, most, tunnelOverheadBytes);
      try {
        netlink.setPairMtu({ name: interfaceName, peerNamespace: sandbox, mtu });
      } catch (error) {
        failures += 1;
        const err = SkepError.from(error).message;
        logger.debug({ interfaceName, mtu, err }, 'a container keeps its MTU for now');
      }
    }
    if (failures === 0) this.fittedMtu = most;
  }

  private async createNetwork(request: PluginRequest): Promise<Record<string, unknown>> {
    const engineId = requiredText(request, 'NetworkID');
    const networkId = text(object(object(request, 'Options'), GENERIC_OPTIONS), NETWORK_ID_LABEL);
    const network = this.parts.state.networks.get(networkId);
    if (network === undefined) {
      throw new SkepError(
        'invalid_argument',
        'skep networks are made by the swarm: use "docker network create --driver overlay"',
      );
    }
    this.parts.state.networks.set(networkId, { info: network.info, engineId });
    await this.parts.state.save();
    return {};
  }

  private async deleteNetwork(request: PluginRequest): Promise<Record<string, unknown>> {
    const { state } = this.parts;
    const network = state.networkOfTwin(requiredText(request, 'NetworkID'));
    if (network === undefined) return {};
    state.networks.set(network.info.id, { info: network.info });
    await state.save();
    return {};
  }

  private async createEndpoint(request: PluginRequest): Promise<Record<string, unknown>> {
    const { state } = this.parts;
    const id = endpointId(request);
    const info = this.network(request);
    const asked = object(request, 'Interface');
    const parsed = parseAddressWithPrefix(text(asked, 'Address'));
    const subnet = parsed && subnetOf(info, parsed.address);
    if (parsed === undefined || subnet === undefined) {
      throw new SkepError('invalid_argument', 'the endpoint has no address of its network');
    }
    const rival = state.endpointAt(info.id, parsed.address);
    if (rival !== undefined && rival.id !== id && rival.interfaceName !== undefined) {
      throw new SkepError('already_exists', `address ${parsed.address} is in use on this node`);
    }
    if (rival !== undefined) state.endpoints.delete(rival.id);
    const askedMac = text(asked, 'MacAddress').toLowerCase();
    if (askedMac !== '' && !isMac(askedMac)) {
      throw new SkepError('invalid_argument', 'MacAddress is malformed');
    }
    const mac = askedMac === '' ? macOf(parsed.address) : askedMac;
    state.endpoints.set(id, {
      id,
      networkId: info.id,
      vni: subnet.vni,
      address: parsed.address,
      prefixLength: parsed.prefixLength,
      mac,
      defaultRoute: false,
    });
    await state.save();
    // A field the engine has set must not be answered.
    const own = {
      ...(askedMac === '' ? { MacAddress: mac } : {}),
      ...(text(asked, 'AddressIPv6') === '' ? addressIpv6(subnet, parsed.address) : {}),
    };
    return Object.keys(own).length === 0 ? {} : { Interface: own };
  }

  private async join(request: PluginRequest): Promise<Record<string, unknown>> {
    const { state, datapath, netlink, onChange } = this.parts;
    const endpoint = this.endpoint(request);
    const info = this.network(request);
    const subnet = subnetOf(info, endpoint.address);
    const sandbox = requiredText(request, 'SandboxKey');
    const { hostSide, containerSide } = deviceNames(endpoint.id);
    const mtu = containerMtu(info, datapath.containerMtu, this.parts.tunnelOverheadBytes);
    this.makeVethPair({ name: hostSide, peer: containerSide, peerMac: endpoint.mac, mtu });
    const joined: LocalEndpoint = {
      ...endpoint,
      interfaceName: hostSide,
      sandbox,
      defaultRoute: this.carriesDefaultRoute(endpoint, info, sandbox),
      nameRoute: info.internal && this.needsNameRoute(endpoint, sandbox),
    };
    try {
      netlink.setLinkUp(hostSide);
      const { vni, address, mac } = endpoint;
      datapath.attachLink({ interfaceName: hostSide, vni, address, mac });
      state.endpoints.set(endpoint.id, joined);
      await state.save();
    } catch (error) {
      state.endpoints.set(endpoint.id, endpoint);
      this.detach(endpoint);
      throw error;
    }
    onChange(joined);
    return {
      InterfaceName: { SrcName: containerSide, DstPrefix: 'eth' },
      ...(joined.defaultRoute && subnet !== undefined ? gatewaysOf(subnet) : {}),
      ...(joined.nameRoute ? { StaticRoutes: [nameRoute(this.parts.dnsAddress)] } : {}),
      // The engine would otherwise add a leg on docker_gwbridge.
      DisableGatewayService: true,
    };
  }

  /** What an attempt before has left is removed first; looked for only then, since each request waits for all others of the kernel. */
  private makeVethPair(pair: Parameters<Netlink['createVethPair']>[0]): void {
    const { netlink } = this.parts;
    try {
      netlink.createVethPair(pair);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      netlink.deleteLink(pair.name);
      netlink.createVethPair(pair);
    }
  }

  /** Tasks have it decided by their plan; a plain container's first network to the outside gets it. */
  private carriesDefaultRoute(
    endpoint: LocalEndpoint,
    info: NetworkInfo,
    sandbox: string,
  ): boolean {
    const { state } = this.parts;
    if (info.internal) return false;
    const plan = state.planned.get(placeKey(info.id, endpoint.address));
    if (plan !== undefined) return plan.defaultRoute;
    return !state.endpointsIn(sandbox).some((other) => {
      return other.id !== endpoint.id && other.defaultRoute;
    });
  }

  /** A container on internal networks only reaches the name server over one of them. */
  private needsNameRoute(endpoint: LocalEndpoint, sandbox: string): boolean {
    const { state } = this.parts;
    const planned = [...state.planned.values()];
    const own = state.planned.get(placeKey(endpoint.networkId, endpoint.address));
    if (own !== undefined && own.taskId !== '') {
      if (planned.some((plan) => plan.taskId === own.taskId && plan.defaultRoute)) return false;
    }
    return !state.endpointsIn(sandbox).some((other) => {
      return other.id !== endpoint.id && (other.defaultRoute || other.nameRoute === true);
    });
  }

  private async leave(request: PluginRequest): Promise<Record<string, unknown>> {
    const endpoint = this.parts.state.endpoints.get(endpointId(request));
    if (endpoint === undefined) return {};
    await this.release(endpoint);
    return {};
  }

  private async release(endpoint: LocalEndpoint): Promise<void> {
    const { state, onChange } = this.parts;
    const { interfaceName: _device, sandbox: _sandbox, nameRoute: _route, ...rest } = endpoint;
    const left: LocalEndpoint = { ...rest, defaultRoute: false };
    const place = placeKey(endpoint.networkId, endpoint.address);
    if (![...state.tasks.values()].some((task) => hasPlace(task, place))) {
      state.planned.delete(place);
    }
    state.endpoints.set(endpoint.id, left);
    this.detach(endpoint);
    this.passOnRoutes(endpoint);
    await state.save();
    onChange(left);
  }

  /** A container that stays leaves a network that carried its default route, or its way to the name server. */
  private passOnRoutes(leaving: LocalEndpoint): void {
    const { state, netlink, dnsAddress, logger } = this.parts;
    const { sandbox } = leaving;
    if (sandbox === undefined || !(leaving.defaultRoute || leaving.nameRoute === true)) return;
    const moved = routesPassedOn(state.endpointsIn(sandbox), state.networks, dnsAddress);
    if (moved === undefined) return;
    try {
      for (const route of moved.routes)
        netlink.setRouteInside({ ...route, namespace: sandbox, metric: PASSED_ON_METRIC });
      state.endpoints.set(moved.heir.id, moved.heir);
    } catch (error) {
      // Most often the container is ending, and its other interfaces went first.
      const err = SkepError.from(error).message;
      logger.debug(
        { address: moved.heir.address, err },
        'routes of a container were not passed on',
      );
    }
  }

  private async deleteEndpoint(request: PluginRequest): Promise<Record<string, unknown>> {
    const { state, onChange } = this.parts;
    const endpoint = state.endpoints.get(endpointId(request));
    if (endpoint === undefined) return {};
    this.detach(endpoint);
    state.endpoints.delete(endpoint.id);
    state.containers.delete(endpoint.id);
    await state.save();
    const { interfaceName: _device, sandbox: _sandbox, ...left } = endpoint;
    onChange(left);
    return {};
  }

  private network(request: PluginRequest): NetworkInfo {
    const network = this.parts.state.networkOfTwin(requiredText(request, 'NetworkID'));
    if (network === undefined) throw new SkepError('not_found', 'unknown network');
    return network.info;
  }

  private endpoint(request: PluginRequest): LocalEndpoint {
    const endpoint = this.parts.state.endpoints.get(endpointId(request));
    if (endpoint === undefined) throw new SkepError('not_found', 'unknown endpoint');
    return endpoint;
  }
}

/**
 * Which of a container's endpoints takes over when the one that carried its routes has left, and the routes it gets;
 * undefined: there is none, or nothing to take over.
 */
function routesPassedOn(
  endpoints: readonly LocalEndpoint[],
  networks: LocalState['networks'],
  dnsAddress: string,
): { readonly heir: LocalEndpoint; readonly routes: readonly HeirRoute[] } | undefined {
  if (endpoints.some((each) => each.defaultRoute)) return undefined;
  for (const heir of endpoints) {
    const info = networks.get(heir.networkId)?.info;
    const subnet = info && subnetOf(info, heir.address);
    if (info === undefined || subnet === undefined || info.internal) continue;
    const { Gateway, GatewayIPv6 } = gatewaysOf(subnet);
    const base = { source: heir.address, prefixLength: 0 };
    return {
      heir: { ...heir, defaultRoute: true },
      routes: [
        { ...base, destination: '0.0.0.0', gateway: Gateway },
        ...(GatewayIPv6 === undefined
          ? []
          : [{ ...base, destination: '::', gateway: GatewayIPv6 }]),
      ],
    };
  }
  const [heir] = endpoints;
  if (heir === undefined || endpoints.some((each) => each.nameRoute === true)) return undefined;
  const route = { source: heir.address, destination: dnsAddress, prefixLength: 32 };
  return { heir: { ...heir, nameRoute: true }, routes: [route] };
}

/** The derived address with its prefix length, as the protocol names it. */
function addressIpv6(subnet: SubnetInfo, address: string): Record<string, unknown> {
  const own = ipv6Of(subnet, address);
  return own === undefined ? {} : { AddressIPv6: `${own}/${subnet.subnet6?.split('/')[1] ?? ''}` };
}

/** Where the default routes of both families go. */
function gatewaysOf(subnet: SubnetInfo): {
  readonly Gateway: string;
  readonly GatewayIPv6?: string;
} {
  const GatewayIPv6 = ipv6Of(subnet, subnet.gateway);
  return { Gateway: subnet.gateway, ...(GatewayIPv6 === undefined ? {} : { GatewayIPv6 }) };
}

function hasPlace(task: LocalTask, place: string): boolean {
  return task.attachments.some((each) => placeKey(each.networkId, each.address) === place);
}

function endpointId(request: PluginRequest): string {
  const id = requiredText(request, 'EndpointID');
  if (!/^[0-9a-f]{16,64}$/.test(id)) {
    throw new SkepError('invalid_argument', 'EndpointID is malformed');
  }
  return id;
}

/** `RouteType` 1: on the link, without a next hop; the data path answers its ARP. */
function nameRoute(dnsAddress: string): Record<string, unknown> {
  return { Destination: `${dnsAddress}/32`, RouteType: 1 };
}

function deviceNames(id: string): { readonly hostSide: string; readonly containerSide: string } {
  const short = id.slice(0, ID_LENGTH_IN_NAME);
  return {
    hostSide: `${HOST_SIDE_PREFIX}${short}`,
    containerSide: `${CONTAINER_SIDE_PREFIX}${short}`,
  };
}

/** `com.docker.network.driver.mtu` speaks of the underlay, as in stock Swarm; it can only lower ours. */
function containerMtu(info: NetworkInfo, datapathMtu: number, overheadBytes: number): number {
  const wireguard = info.encrypted ? WIREGUARD_OVERHEAD_BYTES : 0;
  const most = datapathMtu - wireguard;
  return info.mtu === undefined ? most : Math.min(most, info.mtu - overheadBytes - wireguard);
}
