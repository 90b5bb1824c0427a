/**
 * One node's networking put together: engine plugin, gossip, name server and the reconciler that
 * keeps the packet side equal to what is known. The only class other rooms meet.
 */
import path from 'node:path';
import type Dockerode from 'dockerode';
import type { Environment, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Network, NetworkAttachment } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { PortConfig } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Datapath, Netlink } from '../native/datapath-types.js';
import type { GossipEvent, GossipProfile, StartGossip } from '../native/gossip-types.js';
import type { Logger } from '../observe/logger.js';
import { ownEntries } from './announcer.js';
import { AttachedContainers } from './attached-containers.js';
import { ClusterGossip } from './cluster-gossip.js';
import { desiredDatapath } from './desired.js';
import { DnsForwarder, resolvConfUpstreams } from './dns/forwarder.js';
import { buildNameTables, type NameTable } from './dns/names.js';
import { DnsServer } from './dns/server.js';
import { EngineNetworks } from './engine-networks.js';
import {
  localNodeOf,
  localPortsOf,
  localTaskOf,
  overlayAttachments,
  planAddresses,
} from './from-swarmkit.js';
import { HostAddresses } from './host-addresses.js';
import {
  DRAIN_SPREAD_MAX_MS,
  DRAIN_SPREAD_MIN_MS,
  ECHO_PERIOD_MS,
  GOSSIP_FANOUT,
  GOSSIP_ROUND_MS,
  HOST_ADDRESS_PERIOD_MS,
  LEAVE_TIMEOUT_MS,
  RECONCILE_DELAY_MS,
  RECONCILE_RETRY_MS,
  TUNNEL_OVERHEAD_BYTES,
} from './limits.js';
import { Liveness } from './liveness.js';
import { type LocalEndpoint, LocalState, placeKey } from './local-state.js';
import { clusterView, namesBySource, networksInUse } from './local-view.js';
import { networkInfoOf, subnetOf } from './network-info.js';
import { PinnedRows } from './pinned.js';
import { IpamDriver } from './plugin/ipam-driver.js';
import { NetworkDriver } from './plugin/network-driver.js';
import { PluginServer } from './plugin/server.js';
import { Reconciler } from './reconciler.js';
import { Settling } from './settling.js';
import { EndpointTables, type WithdrawnEndpoint } from './tables.js';
import { takeOver } from './takeover.js';
import { TwinSweeper } from './twin-sweeper.js';
import type {
  AttachmentAllocator,
  ContainerNetworking,
  NodeNetworkConfig,
  NodeNetworking,
  TaskEndpoint,
} from './types.js';

/** Addresses, paths and ports of one node. */
export interface NodeNetworkOptions {
  /** Directory for the room's own state (one file, `network.json`). */
  readonly stateDirectory: string;
  /** Where the engine looks for the plugin; default in limits.ts. */
  readonly pluginSocket: string;
  /** Own tunnel endpoint, as given to the data path (`--data-path-addr`, else the advertise address). */
  readonly tunnelAddress: string;
  /** Gossip: address to bind, address others reach us at, port (7946). */
  readonly gossipBindAddress: string;
  readonly advertiseAddress: string;
  readonly gossipPort: number;
  readonly gossipProfile: GossipProfile;
  /** Name server: address (on the data path's host leg) and port. */
  readonly dnsAddress: string;
  readonly dnsPort: number;
  /** The host's resolver configuration, `/etc/resolv.conf`. */
  readonly resolvConf: string;
}

/** What a node's networking is made of. */
export interface NodeNetworkParts {
  readonly datapath: Datapath;
  readonly netlink: Netlink;
  readonly startGossip: StartGossip;
  readonly engine: Dockerode;
  readonly attachments: AttachmentAllocator;
  readonly options: NodeNetworkOptions;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** Networking of one node, from `start` to `stop` or `leave`; after `leave` make a new one. */
export class NodeNetwork implements NodeNetworking {
  private readonly parts: NodeNetworkParts;
  private readonly state: LocalState;
  private readonly tables: EndpointTables;
  private readonly liveness: Liveness;
  private readonly reconciler: Reconciler;
  private readonly gossip: ClusterGossip;
  private readonly twins: EngineNetworks;
  private readonly containers: AttachedContainers;
  private readonly sweeper: TwinSweeper;
  private readonly driver: NetworkDriver;
  private readonly plugin: PluginServer;
  private readonly dns: DnsServer;
  private readonly hostAddresses: HostAddresses;
  private readonly settling: Settling;
  private pinned: PinnedRows | undefined;
  private names: ReadonlyMap<string, readonly NameTable[]> = new Map();
  private readonly timers = new Map<string, Timer>();
  private running = false;
  private refreshTookMs = 0;

  constructor(parts: NodeNetworkParts) {
    const { datapath, netlink, engine, options, environment, logger, attachments } = parts;
    const { clock, random } = environment;
    this.parts = parts;
    const state = new LocalState(path.join(options.stateDirectory, 'network.json'));
    this.state = state;
    this.tables = new EndpointTables((endpoint) => this.withdrawn(endpoint));
    this.liveness = new Liveness(clock, datapath, this.tables);
    this.reconciler = new Reconciler(datapath);
    this.settling = new Settling(clock);
    this.hostAddresses = new HostAddresses(netlink, datapath);
    this.gossip = new ClusterGossip({
      startGossip: parts.startGossip,
      options: {
        bindAddress: options.gossipBindAddress,
        advertiseAddress: options.advertiseAddress,
        port: options.gossipPort,
        profile: options.gossipProfile,
      },
      clock,
      logger,
      onEvents: (events) => this.onGossip(events),
      onReady: () => this.schedule(),
    });
    this.twins = new EngineNetworks(engine, state, logger);
    const onChange = () => this.schedule();
    const { twins: networks } = this;
    this.containers = new AttachedContainers({
      ...{ engine, networks, state, clock, random, logger, onChange },
    });
    const containers = this.containers;
    this.sweeper = new TwinSweeper({ networks, state, clock, logger });
    this.driver = new NetworkDriver({
      ...{ state, datapath, netlink, logger, dnsAddress: options.dnsAddress },
      tunnelOverheadBytes: TUNNEL_OVERHEAD_BYTES[options.tunnelAddress.includes(':') ? 6 : 4],
      onChange: (endpoint) => this.onEndpoint(endpoint),
    });
    const containerWaitingFor = containers.containerWaitingFor.bind(containers);
    const ipam = new IpamDriver({ state, attachments, containerWaitingFor, logger });
    const activate = () => ({ Implements: ['NetworkDriver', 'IpamDriver'] });
    const handlers = new Map([
      ['/Plugin.Activate', activate] as const,
      ...this.driver.handlers(),
      ...ipam.handlers(),
    ]);
    this.plugin = new PluginServer(options.pluginSocket, handlers, logger);
    const skip = new Set([options.dnsAddress]);
    this.dns = new DnsServer({
      bindAddress: options.dnsAddress,
      port: options.dnsPort,
      namesFor: (source) => this.names.get(source),
      forwarder: new DnsForwarder({
        upstreams: resolvConfUpstreams(options.resolvConf, skip),
        random,
      }),
      random,
      logger,
    });
  }

  async start(): Promise<void> {
    if (this.running) return;
    const { logger, datapath, netlink } = this.parts;
    try {
      await this.state.load();
    } catch (error) {
      // The engine and the pinned links still know nearly everything.
      logger.error({ err: SkepError.from(error).message }, 'network state is unreadable');
      await this.state.clear();
    }
    const loaded = [...this.state.endpoints.values()];
    // First of all: an engine that is starting waits for the plugin, and we wait for the engine.
    await this.plugin.start();
    try {
      this.pinned = new PinnedRows(datapath.dump());
      await this.twins.recover();
      const { state, twins: networks, containers } = this;
      await takeOver({ state, datapath, netlink, networks, containers, loaded, logger });
      this.hostAddresses.refresh();
      await this.dns.start();
    } catch (error) {
      await this.plugin.stop();
      throw SkepError.from(error, 'unavailable');
    }
    this.running = true;
    for (const endpoint of this.state.endpoints.values()) this.onEndpoint(endpoint);
    this.refresh();
    this.every('echo', ECHO_PERIOD_MS, () => this.watch());
    this.every('host', HOST_ADDRESS_PERIOD_MS, () => this.keepHouse());
  }

  async stop(): Promise<void> {
    this.halt();
    this.gossip.close();
    await this.plugin.stop();
    await this.dns.stop();
    this.parts.datapath.close();
  }

  configure(config: NodeNetworkConfig): Promise<void> {
    return this.guarded(async () => {
      const { node, networks } = localNodeOf(config.node);
      const before = JSON.stringify([this.state.node, networks]);
      for (const info of networks) this.learn(info);
      this.state.node = node;
      if (JSON.stringify([node, networks]) !== before) await this.state.save();
      this.gossip.configure(node.id, config.keys, config.managerAddresses);
      this.settling.begin();
      this.refresh();
    });
  }

  async leave(): Promise<void> {
    this.halt();
    const { logger, datapath } = this.parts;
    try {
      await this.gossip.leave(LEAVE_TIMEOUT_MS);
      for (const network of [...this.state.networks.values()]) {
        await this.twins.removeByForce(network);
      }
    } catch (error) {
      // The node leaves also when its engine or the others cannot be reached.
      logger.warn({ err: SkepError.from(error).message }, 'leaving goes on without an answer');
      this.gossip.close();
    }
    for (const endpoint of [...this.state.endpoints.values()]) this.driver.detach(endpoint);
    await this.plugin.stop();
    await this.dns.stop();
    datapath.destroy();
    await this.state.clear();
  }

  prepareTask(
    attachments: readonly NetworkAttachment[],
    taskId = '',
  ): Promise<ContainerNetworking> {
    return this.guarded(async () => {
      const overlays = overlayAttachments(attachments);
      const nowMs = this.parts.environment.clock.nowMs();
      for (const { info } of overlays) this.learn(info);
      for (const plan of planAddresses(overlays, taskId, nowMs)) {
        this.state.planned.set(placeKey(plan.networkId, plan.address), plan);
      }
      await this.state.save();
      // The network is followed, and its entries arrive, while the container is being made.
      this.refresh();
      const endpoints: ContainerNetworking['endpoints'][number][] = [];
      for (const { info, address } of overlays) {
        const engineNetworkId = await this.twins.ensure(info);
        endpoints.push({ engineNetworkName: info.name, engineNetworkId, address });
      }
      const dnsServers = overlays.length === 0 ? [] : [this.parts.options.dnsAddress];
      return { endpoints: [...endpoints, ...(await this.predefined(attachments))], dnsServers };
    });
  }

  activate(endpoint: TaskEndpoint): Promise<void> {
    return this.guarded(async () => {
      const aliases = await this.containers.aliasesOf(endpoint.containerId);
      for (const { info } of overlayAttachments(endpoint.attachments)) this.learn(info);
      this.state.tasks.set(endpoint.taskId, localTaskOf(endpoint, aliases));
      await this.state.save();
      this.refresh();
    });
  }

  drain(taskId: string): Promise<void> {
    return this.guarded(async () => {
      const task = this.state.tasks.get(taskId);
      if (task === undefined) return;
      this.state.tasks.set(taskId, { ...task, draining: true });
      await this.state.save();
      this.refresh();
      const others = this.liveness.aliveCount();
      if (others > 0) await this.sleep(spreadMs(others));
    });
  }

  deactivate(taskId: string): Promise<void> {
    return this.guarded(async () => {
      const { state } = this;
      const touched = new Set<string>();
      for (const { networkId, address } of state.tasks.get(taskId)?.attachments ?? []) {
        state.planned.delete(placeKey(networkId, address));
        touched.add(networkId);
      }
      for (const [place, plan] of state.planned) {
        if (plan.taskId !== taskId || taskId === '') continue;
        state.planned.delete(place);
        touched.add(plan.networkId);
      }
      if (!state.tasks.delete(taskId) && touched.size === 0) return;
      await state.save();
      this.refresh();
      for (const networkId of touched) await this.sweeper.release(networkId);
      this.refresh();
    });
  }

  updatePorts(taskId: string, ports: readonly PortConfig[]): Promise<void> {
    return this.guarded(async () => {
      const task = this.state.tasks.get(taskId);
      if (task === undefined) return;
      this.state.tasks.set(taskId, { ...task, ports: localPortsOf(ports) });
      await this.state.save();
      this.refresh();
    });
  }

  ensureAttachable(network: Network): Promise<string> {
    return this.guarded(async () => {
      const info = networkInfoOf(network);
      if (!info.attachable) {
        throw new SkepError('permission_denied', `network ${info.name} not manually attachable`);
      }
      this.learn(info);
      this.sweeper.touch(info.id);
      return this.twins.ensure(info);
    });
  }

  /** Whether the data path of another node, by its swarm id, is not known to be silent. */
  isDataPathAlive(nodeId: string): boolean {
    return this.liveness.isDataPathAlive(nodeId);
  }

  /** Networks of the engine's own among the attachments (`--network host`). */
  private async predefined(
    attachments: readonly NetworkAttachment[],
  ): Promise<ContainerNetworking['endpoints']> {
    const overlays = new Set(overlayAttachments(attachments).map(({ info }) => info.id));
    const endpoints: ContainerNetworking['endpoints'][number][] = [];
    for (const { network } of attachments) {
      if (network === undefined || overlays.has(network.id)) continue;
      const engineNetworkName = network.spec?.annotations?.name ?? '';
      const engineNetworkId = await this.twins.predefined(engineNetworkName);
      endpoints.push({ engineNetworkName, engineNetworkId, address: '' });
    }
    return endpoints;
  }

  /** Remembers a network; the twin stays the one it has. */
  private learn(info: ReturnType<typeof networkInfoOf>): void {
    const known = this.state.networks.get(info.id);
    // A changed shape needs a new twin: `ensure` compares, so what it compares with is kept.
    if (known?.engineId !== undefined) return;
    this.state.networks.set(info.id, { info });
  }

  private onEndpoint(endpoint: LocalEndpoint): void {
    if (endpoint.interfaceName !== undefined) {
      const place = placeKey(endpoint.networkId, endpoint.address);
      if (!this.state.planned.has(place)) this.containers.follow(endpoint);
    }
    this.sweeper.touch(endpoint.networkId);
    this.schedule();
  }

  private onGossip(events: readonly GossipEvent[]): void {
    let changed = false;
    for (const event of events) {
      switch (event.type) {
        case 'member':
          this.parts.logger.info({ member: event.member }, 'gossip member');
          this.liveness.member(event.member);
          break;
        case 'network-member':
          break;
        case 'entry':
        case 'entry-removed':
          changed = this.tables.apply(event) || changed;
          break;
      }
    }
    if (changed) this.schedule();
  }

  private withdrawn({ networkId, address }: WithdrawnEndpoint): void {
    const info = this.state.networks.get(networkId)?.info;
    const subnet = info && subnetOf(info, address);
    if (subnet !== undefined) this.pinned?.forget({ vni: subnet.vni, address });
  }

  /** One comparison soon, for however many changes. */
  private schedule(leastMs = RECONCILE_DELAY_MS): void {
    if (!this.running || this.timers.has('refresh')) return;
    // With very many endpoints a pass takes longer; it must not take more than a third of the time.
    const delayMs = Math.max(leastMs, 2 * this.refreshTookMs);
    const timer = this.parts.environment.clock.setTimer(delayMs, () => {
      this.timers.delete('refresh');
      this.refresh();
    });
    this.timers.set('refresh', timer);
  }

  /** Announces, names and writes what is known now. Errors of the data path are tried again. */
  private refresh(): void {
    if (!this.running) return;
    const { state, tables } = this;
    const { tunnelAddress } = this.parts.options;
    const { clock } = this.parts.environment;
    const beganMs = clock.monotonicMs();
    const inUse = new Set(networksInUse(state).map(({ info }) => info.id));
    try {
      for (const networkId of this.gossip.follow(inUse)) tables.dropNetwork(networkId);
      this.gossip.announce(ownEntries(state, tunnelAddress));
      const view = clusterView(state, tables, tunnelAddress);
      this.names = namesBySource(state, buildNameTables(view.networks, view.endpoints));
      const desired = desiredDatapath(view);
      const merged = this.pinned?.merge(desired, (tunnel) => this.keeps(tunnel)) ?? desired;
      const { written, removed } = this.reconciler.apply(merged);
      if (written + removed > 0) this.parts.logger.debug({ written, removed }, 'data path changed');
    } catch (error) {
      this.parts.logger.error({ err: SkepError.from(error).message }, 'data path was not updated');
      this.schedule(RECONCILE_RETRY_MS);
    }
    this.refreshTookMs = clock.monotonicMs() - beganMs;
  }

  /** Whether leftovers of a former process that lead to this tunnel are kept. */
  private keeps(tunnel: string | undefined): boolean {
    if (!this.settling.settled(this.gossip.join)) return true;
    // Its skepd is away but its data path answers: nobody can announce these rows again.
    return tunnel !== undefined && this.liveness.answers(tunnel) && !this.tables.announces(tunnel);
  }

  private watch(): void {
    const leftovers = this.pinned?.tunnels() ?? new Set<string>();
    const dropped = this.liveness.tick(leftovers);
    const settling = this.pinned !== undefined;
    if (settling && this.pinned?.empty && this.settling.settled(this.gossip.join)) {
      this.pinned = undefined;
    }
    if (dropped || settling) this.refresh();
  }

  private keepHouse(): void {
    this.gossip.tick();
    try {
      this.hostAddresses.refresh();
      this.driver.releaseVanished();
    } catch (error) {
      const err = SkepError.from(error).message;
      this.parts.logger.warn({ err }, 'devices of the host are unknown');
    }
    this.sweeper.sweep().then(
      (removed) => {
        if (removed) this.schedule();
      },
      (error: unknown) => {
        const err = SkepError.from(error).message;
        this.parts.logger.debug({ err }, 'unused networks stay on the engine');
      },
    );
  }

  private every(name: string, periodMs: number, work: () => void): void {
    const turn = () => {
      this.timers.set(name, this.parts.environment.clock.setTimer(periodMs, turn));
      try {
        work();
      } catch (error) {
        this.parts.logger.error({ err: SkepError.from(error).message }, `${name} watch failed`);
      }
    };
    this.timers.set(name, this.parts.environment.clock.setTimer(periodMs, turn));
  }

  private halt(): void {
    this.running = false;
    for (const timer of this.timers.values()) timer.cancel();
    this.timers.clear();
  }

  private sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.parts.environment.clock.setTimer(delayMs, resolve);
    });
  }

  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    if (!this.running) throw new SkepError('unavailable', 'networking of this node is not running');
    try {
      return await work();
    } catch (error) {
      throw SkepError.from(error, 'internal');
    }
  }
}

/** Rounds of gossip until everyone has heard, and one more. */
function spreadMs(others: number): number {
  const rounds = Math.ceil(Math.log(others + 1) / Math.log(GOSSIP_FANOUT + 1)) + 2;
  return Math.min(DRAIN_SPREAD_MAX_MS, Math.max(DRAIN_SPREAD_MIN_MS, rounds * GOSSIP_ROUND_MS));
}
