/**
 * One node's networking put together: engine plugin, gossip, name server and the reconciler that
 * keeps the packet side equal to what is known. The only class other rooms meet.
 */
import path from 'node:path';
import type Dockerode from 'dockerode';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Network, NetworkAttachment } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Datapath, LinkRow, Netlink } from '../native/datapath-types.js';
import type { GossipEvent, GossipProfile, StartGossip } from '../native/gossip-types.js';
import type { Logger } from '../observe/logger.js';
import type { IdentitySource } from '../rpc/types.js';
import { ownEntries } from './announcer.js';
import { AttachedContainers } from './attached-containers.js';
import { ClusterGossip, type InSync } from './cluster-gossip.js';
import { addressKey, desiredDatapath } from './desired.js';
import { DirectReturn } from './direct/direct-return.js';
import { directTunnels } from './direct/wanted.js';
import { Encryption } from './encryption/encryption.js';
import { IngressKeys } from './encryption/ingress-keys.js';
import { isWireguardTunnel } from './encryption/keys.js';
import type { WireguardDevices } from './encryption/wireguard-device.js';
import type { NodeNames } from './dns/name-keeper.js';
import { leftoversKept, RememberedNames } from './dns/remembered-names.js';
import { wantedContainers, wantedNetworks } from './dns/wanted-names.js';
import { EngineNetworks } from './engine-networks.js';
import { clusterSettingsOf, keySettingsOf, localNodeOf } from './from-swarmkit.js';
import { type Contacts, Fence } from './fence.js';
import { HostAddresses } from './host-addresses.js';
import {
  ECHO_PERIOD_MS,
  HANDSHAKE_POLL_MS,
  HOST_ADDRESS_PERIOD_MS,
  LEAVE_TIMEOUT_MS,
  RECONCILE_RETRY_MS,
  REPAIR_PERIOD_MS,
  TUNNEL_OVERHEAD_BYTES,
} from './limits.js';
import { LeaseSweeper } from './lease-sweeper.js';
import { Liveness } from './liveness.js';
import { type LocalEndpoint, LocalState, placeKey } from './local-state.js';
import { clusterView, networksInUse } from './local-view.js';
import { subnetOf } from './network-info.js';
import { OwnerTunnels } from './owner-tunnels.js';
import { PinnedRows } from './pinned.js';
import { PATH_TICK_MS } from './paths/limits.js';
import { pathPeers } from './paths/peers.js';
import { PathSelfTest } from './paths/self-test.js';
import { UdpPathTransport } from './paths/udp-transport.js';
import { IpamDriver } from './plugin/ipam-driver.js';
import { NetworkDriver } from './plugin/network-driver.js';
import { PluginServer } from './plugin/server.js';
import { PeriodicWork } from './periodic-work.js';
import { heldPorts } from './port-holders.js';
import { Reconciler } from './reconciler.js';
import { RefreshSchedule } from './refresh-schedule.js';
import { Repairer } from './repairer.js';
import { RetiredAddresses } from './retired-addresses.js';
import { RetiredPorts } from './retired-ports.js';
import { Settling } from './settling.js';
import { DatapathSight } from './sight.js';
import { EndpointTables, type WithdrawnEndpoint } from './tables.js';
import { TakenPorts } from './taken-ports.js';
import { TaskNetworks } from './task-networks.js';
import { takeOver } from './takeover.js';
import type { ClusterView } from './view.js';
import { Underlay } from './underlay.js';
import { TwinSweeper } from './twin-sweeper.js';
import type {
  AttachmentAllocator,
  ContainerNetworking,
  NetworkSight,
  NodeNetworkConfig,
  NodeNetworking,
  TaskEndpoint,
  TaskPublication,
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
  /** The process that answers names in containers. */
  readonly names: NodeNames;
  readonly startGossip: StartGossip;
  readonly engine: Dockerode;
  readonly attachments: AttachmentAllocator;
  /** This node's certificate and key: they vouch for its WireGuard keys. */
  readonly identity: IdentitySource;
  readonly wireguard: WireguardDevices;
  readonly options: NodeNetworkOptions;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** Networking of one node, from `start` to `stop` or `leave`; after `leave` make a new one. */
export class NodeNetwork implements NodeNetworking {
  private readonly parts: NodeNetworkParts;
  private readonly state: LocalState;
  private readonly tables: EndpointTables;
  private readonly ownerTunnels: OwnerTunnels;
  private readonly liveness: Liveness;
  private readonly reconciler: Reconciler;
  private readonly gossip: ClusterGossip;
  private readonly twins: EngineNetworks;
  private readonly containers: AttachedContainers;
  private readonly sweeper: TwinSweeper;
  private readonly leases: LeaseSweeper;
  private readonly driver: NetworkDriver;
  private readonly plugin: PluginServer;
  private readonly hostAddresses: HostAddresses;
  private readonly underlay: Underlay;
  private readonly settling: Settling;
  private readonly fence: Fence;
  private readonly encryption: Encryption;
  private readonly ingressKeys: IngressKeys;
  private readonly repairer: Repairer;
  private readonly selfTest: PathSelfTest;
  private readonly directReturn: DirectReturn;
  readonly sight: NetworkSight;
  private readonly retired: RetiredPorts;
  private readonly retiredAddresses = new RetiredAddresses();
  private readonly taken: TakenPorts;
  private pinned: PinnedRows | undefined;
  private settings = clusterSettingsOf(undefined);
  private managers: readonly string[] = [];
  private assigned: ReadonlySet<string> | undefined;
  private remembered = new RememberedNames([]);
  private readonly periodic: PeriodicWork;
  private readonly refreshes: RefreshSchedule;
  private readonly taskNetworks: TaskNetworks;
  private running = false;
  /** The managers have removed this node. */
  private isExpelled = false;
  /** What other nodes wait for; acknowledged when the tables are in force. */
  private readonly awaited: InSync[] = [];

  constructor(parts: NodeNetworkParts) {
    const { datapath, netlink, engine, options, environment, logger } = parts;
    const { clock, random } = environment;
    this.parts = parts;
    const state = new LocalState(path.join(options.stateDirectory, 'network.json'));
    this.state = state;
    this.tables = new EndpointTables((endpoint) => this.withdrawn(endpoint));
    this.ownerTunnels = new OwnerTunnels(state, this.tables);
    const onAnswer = (owner: string) => this.gossip.reconnect(owner);
    this.liveness = new Liveness({ clock, echoes: datapath, entries: this.tables, onAnswer });
    this.reconciler = new Reconciler(datapath);
    const { reconciler } = this;
    this.repairer = new Repairer({
      ...{ reconciler, datapath, clock, logger },
      links: () => linksOf(state),
    });
    const between = this.betweenNodes();
    this.selfTest = new PathSelfTest(between);
    this.directReturn = new DirectReturn(between);
    const { repairer, selfTest, directReturn } = this;
    this.sight = new DatapathSight({
      ...{ datapath, repairer, selfTest, directReturn, clock, state },
      gossipCounters: () => this.gossip.counters(),
    });
    this.retired = new RetiredPorts(clock);
    this.taken = new TakenPorts(logger, heldPorts);
    this.settling = new Settling(clock);
    this.fence = new Fence({ clock, state, netlink, logger });
    this.hostAddresses = new HostAddresses(netlink, datapath);
    this.underlay = this.makeUnderlay();
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
      onReady: () => this.refreshes.soon(),
    });
    const refresh = () => this.refresh();
    const applied = () => parts.names.applied();
    this.refreshes = new RefreshSchedule({ clock, refresh, applied });
    this.periodic = new PeriodicWork(clock, logger);
    this.twins = new EngineNetworks(engine, state, clock, logger);
    const onChange = () => this.refreshes.soon();
    this.encryption = this.makeEncryption();
    this.ingressKeys = new IngressKeys(this.encryption, logger);
    const { twins: networks } = this;
    this.containers = new AttachedContainers({
      ...{ engine, networks, state, clock, random, logger, onChange },
    });
    this.sweeper = new TwinSweeper({ networks, state, clock, logger, onChange });
    const { attachments } = parts;
    this.leases = new LeaseSweeper({ state, attachments, clock, logger });
    const { sweeper, encryption, gossip, refreshes } = this;
    this.taskNetworks = new TaskNetworks({
      ...{ state, twins: networks, sweeper, encryption, gossip, refreshes, clock, logger },
      dnsAddress: options.dnsAddress,
    });
    this.driver = new NetworkDriver({
      ...{ state, datapath, netlink, logger, dnsAddress: options.dnsAddress },
      tunnelOverheadBytes: TUNNEL_OVERHEAD_BYTES[options.tunnelAddress.includes(':') ? 6 : 4],
      onChange: (endpoint) => this.onEndpoint(endpoint),
    });
    this.plugin = this.makePlugin();
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
      await this.encryption.start();
      this.remembered = new RememberedNames(await this.parts.names.start());
    } catch (error) {
      await this.plugin.stop();
      throw SkepError.from(error, 'unavailable');
    }
    this.running = true;
    this.refreshes.start();
    for (const endpoint of this.state.endpoints.values()) this.onEndpoint(endpoint);
    this.refreshes.now();
    this.periodic.every('echo', ECHO_PERIOD_MS, () => this.watch());
    this.periodic.every('host', HOST_ADDRESS_PERIOD_MS, () => this.keepHouse());
    this.periodic.every('encryption', HANDSHAKE_POLL_MS, () => this.encryption.tick());
    this.periodic.every('paths', PATH_TICK_MS, () => {
      this.selfTest.tick();
      this.directReturn.tick();
    });
    this.periodic.every('repair', REPAIR_PERIOD_MS, () => this.repair());
  }

  async stop(): Promise<void> {
    this.halt();
    this.gossip.close();
    await this.selfTest.stop();
    await this.encryption.stop();
    await this.plugin.stop();
    this.parts.names.stop();
    this.parts.datapath.close();
  }

  configure(config: NodeNetworkConfig): Promise<void> {
    return this.guarded(async () => {
      const { node, networks } = localNodeOf(config.node);
      this.isExpelled = false;
      this.settings = clusterSettingsOf(config.node);
      for (const id of this.settings.removedNodes) this.disown(id);
      const before = JSON.stringify([this.state.node, networks]);
      for (const info of networks) this.taskNetworks.learn(info);
      this.state.node = node;
      if (JSON.stringify([node, networks]) !== before) await this.state.save();
      await this.encryption.configure(node.id, keySettingsOf(config.node));
      this.managers = config.managerAddresses;
      this.gossip.configure(node.id, config.keys, config);
      this.settling.begin();
      this.refreshes.now();
      this.ingressKeys.keep(networksInUse(this.state));
    });
  }

  followSession(assigned: ReadonlySet<string> | undefined): void {
    this.assigned = assigned;
  }

  expelled(): void {
    this.isExpelled = true;
    if (this.running) this.watch();
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
    await this.selfTest.stop();
    for (const endpoint of [...this.state.endpoints.values()]) this.driver.detach(endpoint);
    await this.plugin.stop();
    await this.parts.names.end();
    await this.encryption.leave();
    datapath.destroy();
    await this.state.clear();
  }

  prepareTask(
    attachments: readonly NetworkAttachment[],
    taskId?: string,
  ): Promise<ContainerNetworking> {
    return this.guarded(() => this.taskNetworks.prepareTask(attachments, taskId));
  }

  activate(endpoint: TaskEndpoint): Promise<void> {
    return this.guarded(() => this.taskNetworks.activate(endpoint));
  }

  setReadiness(taskId: string, unready: string | undefined): Promise<void> {
    return this.guarded(() => this.taskNetworks.setReadiness(taskId, unready));
  }

  drain(taskId: string): Promise<void> {
    return this.guarded(() => this.taskNetworks.drain(taskId));
  }

  deactivate(taskId: string): Promise<void> {
    return this.guarded(() => this.taskNetworks.deactivate(taskId));
  }

  republish(taskId: string, publication: TaskPublication): Promise<void> {
    return this.guarded(() => this.taskNetworks.republish(taskId, publication));
  }

  ensureAttachable(network: Network): Promise<string> {
    return this.guarded(() => this.taskNetworks.ensureAttachable(network));
  }

  /** For how long another node, by its swarm id, has been silent in gossip and data path (see Liveness). */
  silenceMs(nodeId: string): number {
    return this.liveness.silenceMs(nodeId);
  }

  /** Where another node, by its swarm id, is by gossip (see Liveness). */
  addressOf(nodeId: string): string | undefined {
    return this.liveness.addressOf(nodeId);
  }

  private makeUnderlay(): Underlay {
    const { datapath, netlink, logger, options } = this.parts;
    const ownAddresses = [options.tunnelAddress, options.advertiseAddress];
    return new Underlay({ ...{ netlink, datapath, logger, ownAddresses } });
  }

  private makePlugin(): PluginServer {
    const { attachments, options, logger } = this.parts;
    const { state, containers } = this;
    const containerWaitingFor = containers.containerWaitingFor.bind(containers);
    const ipam = new IpamDriver({ state, attachments, containerWaitingFor, logger });
    const activate = () => ({ Implements: ['NetworkDriver', 'IpamDriver'] });
    const handlers = new Map([
      ['/Plugin.Activate', activate] as const,
      ...this.driver.handlers(),
      ...ipam.handlers(),
    ]);
    return new PluginServer(options.pluginSocket, handlers, logger);
  }

  /** What is tried out between two nodes goes over one socket. */
  private betweenNodes() {
    const { datapath, environment, logger } = this.parts;
    const transport = new UdpPathTransport(datapath, (nodeId, bytes) => {
      this.selfTest.receive(nodeId, bytes);
      this.directReturn.receive(nodeId, bytes);
    });
    const isAlive = (owner: string) => this.liveness.isMemberAlive(owner);
    return { ...environment, datapath, logger, transport, isAlive };
  }

  private makeEncryption(): Encryption {
    const { datapath, environment, logger, identity, options, wireguard } = this.parts;
    return new Encryption({
      ...{ datapath, environment, logger, identity },
      stateDirectory: options.stateDirectory,
      underlayAddress: options.tunnelAddress,
      devices: wireguard,
      onChange: () => this.refreshes.soon(),
    });
  }

  /** After a start beside what a former process left: gossip has not told everything yet. */
  private isFilling(): boolean {
    return this.pinned !== undefined && !this.settling.settled(this.gossip.join);
  }

  private onEndpoint(endpoint: LocalEndpoint): void {
    if (endpoint.interfaceName !== undefined) {
      const place = placeKey(endpoint.networkId, endpoint.address);
      if (!this.state.planned.has(place)) this.containers.follow(endpoint);
    }
    this.sweeper.touch(endpoint.networkId);
    // At once: a container that starts may ask soon.
    if (this.running) this.parts.names.wantContainers(wantedContainers(this.state));
    this.refreshes.soon();
  }

  private onGossip(events: readonly GossipEvent[]): void {
    let changed = false;
    let doubtful = false;
    const { removedNodes } = this.settings;
    for (const event of events) {
      switch (event.type) {
        case 'member':
          this.parts.logger.info({ member: event.member }, 'gossip member');
          if (removedNodes.has(event.member.name)) break;
          this.liveness.member(event.member);
          doubtful ||= event.member.state !== 'alive';
          break;
        case 'in-sync':
          this.awaited.push(event);
          changed = true;
          break;
        case 'network-member':
          break;
        case 'entry':
        case 'entry-removed':
          if (event.type === 'entry' && removedNodes.has(event.owner)) break;
          this.encryption.apply(event);
          changed = this.tables.apply(event) || changed;
          break;
      }
    }
    if (changed) this.refreshes.soon();
    // At once: each period of waiting would be one more of sending to the dead.
    if (doubtful && this.running) this.watch();
  }

  /** A node that was removed counts as one that left, whatever it goes on to say. */
  private disown(owner: string): void {
    this.liveness.disown(owner);
    this.tables.dropOwner(owner);
  }

  private withdrawn({ networkId, address }: WithdrawnEndpoint): void {
    const info = this.state.networks.get(networkId)?.info;
    const subnet = info && subnetOf(info, address);
    this.remembered.forget(networkId, address);
    if (subnet !== undefined) this.pinned?.forget({ vni: subnet.vni, address });
  }

  /** Announces, names and writes what is known now. Errors of the data path are tried again. */
  private refresh(): void {
    const { state, tables } = this;
    const { tunnelAddress } = this.parts.options;
    const used = networksInUse(state).map(({ info }) => info);
    const encrypted = used.filter((info) => info.encrypted).map(({ id }) => id);
    const { encryption } = this;
    try {
      for (const networkId of this.gossip.follow(new Set(used.map(({ id }) => id)))) {
        tables.dropNetwork(networkId);
        encryption.dropNetwork(networkId);
      }
      const keys = encryption.entries(encrypted);
      this.gossip.announce([...ownEntries(state, tunnelAddress), ...keys]);
      const view = clusterView(state, tables, {
        tunnelAddress,
        hostAddresses: this.hostAddresses.all,
        encryptedTunnels: encryption.tunnels,
      });
      const desired = desiredDatapath(view);
      const peers = pathPeers(view, desired);
      this.selfTest.configure(desired.nodeId, peers);
      this.directReturn.configure(desired.nodeId, peers, directTunnels(desired));
      if (this.underlay.follow(desired.nodes)) this.hostAddresses.refresh(true);
      const merged = this.pinned?.merge(desired, (tunnel) => this.keeps(tunnel)) ?? desired;
      const own = new Set([...state.endpoints.values()].map(addressKey));
      const kept = this.retiredAddresses.merge(this.retired.merge(merged), own);
      this.name(view);
      const { written, removed } = this.reconciler.apply(kept);
      if (written + removed > 0) this.parts.logger.debug({ written, removed }, 'data path changed');
      this.taken.look(merged.services);
      this.acknowledge(this.awaited.splice(0));
      this.rememberTunnels();
    } catch (error) {
      this.parts.logger.error({ err: SkepError.from(error).message }, 'data path was not updated');
      this.refreshes.soon(RECONCILE_RETRY_MS);
    }
  }

  private rememberTunnels(): void {
    if (!this.ownerTunnels.remember(this.isFilling())) return;
    this.state.save().catch((error: unknown) => {
      const err = SkepError.from(error).message;
      this.parts.logger.error({ err }, 'tunnels of other nodes are not on disk');
    });
  }

  /** Tells the name server what is known. */
  private name({ networks, endpoints }: ClusterView): void {
    const { names, options } = this.parts;
    const { remembered, state, pinned } = this;
    const { dnsAddress: address, dnsPort: port, resolvConf } = options;
    const isFilling = this.isFilling();
    const { dnsTtlSeconds: ttlSeconds } = this.settings;
    const keep = leftoversKept(state, pinned, (tunnel) => this.keeps(tunnel));
    names.wantContainers(wantedContainers(state));
    names.want({
      settings: { isFilling, ttlSeconds, address, port, resolvConf },
      networks: wantedNetworks(networks, endpoints, { remembered, keep }),
    });
  }

  /** Other nodes are told once nobody here is given what was withdrawn any more, names included. */
  private acknowledge(awaited: readonly InSync[]): void {
    if (awaited.length > 0)
      void this.parts.names.applied().then(() => this.gossip.acknowledge(awaited));
  }

  /** Whether leftovers of a former process that lead to this tunnel are kept. */
  private keeps(leftover: string | undefined): boolean {
    const tunnel = leftover && this.underlayOf(leftover);
    const { removedNodes } = this.settings;
    if (tunnel !== undefined && this.ownerTunnels.ledOnlyTo(removedNodes, tunnel)) return false;
    if (!this.settling.settled(this.gossip.join)) return true;
    // Its skepd is away but its data path answers: nobody can announce these rows again.
    return tunnel !== undefined && this.liveness.answers(tunnel) && !this.tables.announces(tunnel);
  }

  /** Where a tunnel really ends: echoes do not go through WireGuard. */
  private underlayOf(tunnel: string): string | undefined {
    return isWireguardTunnel(tunnel) ? this.encryption.underlayOf(tunnel) : tunnel;
  }

  private watch(): void {
    const leftovers = [...(this.pinned?.tunnels() ?? [])].map((each) => this.underlayOf(each));
    const dropped = this.liveness.tick(new Set(leftovers.filter((each) => each !== undefined)));
    const settling = this.pinned !== undefined;
    if (settling && this.pinned?.empty && this.settling.settled(this.gossip.join)) {
      this.pinned = undefined;
    }
    const fenced = this.isExpelled
      ? this.fence.fence('removed from the swarm')
      : this.fence.look(this.contacts(), this.settings.fenceAfterMs);
    if (dropped || settling || fenced) this.refreshes.now();
  }

  private contacts(): Contacts {
    const { managers, assigned, liveness } = this;
    const counts = liveness.counts();
    // A swarm of one node has nobody to lose, whatever becomes of its manager.
    const isOnly = managers.length === 1 && managers[0] === this.parts.options.advertiseAddress;
    const manager = (isOnly && counts.others === 0) || liveness.isAnyReached(managers);
    return { manager, assigned, ...counts };
  }

  private keepHouse(): void {
    this.gossip.tick();
    this.ingressKeys.keep(networksInUse(this.state));
    try {
      if (this.hostAddresses.refresh(this.underlay.look())) this.refreshes.soon();
      this.driver.releaseVanished();
      this.driver.fitContainers();
    } catch (error) {
      const err = SkepError.from(error).message;
      this.parts.logger.warn({ err }, 'devices of the host are unknown');
    }
    this.leases.sweep().catch((error: unknown) => {
      const err = SkepError.from(error).message;
      this.parts.logger.error({ err }, 'leases are not on disk');
    });
    this.sweeper.sweep().then(
      (removed) => {
        if (removed) this.refreshes.soon();
      },
      (error: unknown) => {
        const err = SkepError.from(error).message;
        this.parts.logger.debug({ err }, 'unused networks stay on the engine');
      },
    );
  }

  private repair(): void {
    this.repairer.turn().catch((error: unknown) => {
      const err = SkepError.from(error).message;
      this.parts.logger.error({ err }, 'the data path could not be repaired');
    });
  }

  private halt(): void {
    this.running = false;
    this.periodic.stop();
    this.sweeper.stop();
    this.refreshes.stop();
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

/** The interfaces of containers here that must be attached. */
function linksOf(state: LocalState): readonly LinkRow[] {
  return [...state.endpoints.values()].flatMap(({ interfaceName, vni, address, mac }) => {
    return interfaceName === undefined ? [] : [{ interfaceName, vni, address, mac }];
  });
}
