/**
 * Encrypted networks of one node: its WireGuard devices, its keys and their rotation, and the ways
 * to the other nodes that carry such networks. Packets are the data path's business: it sends those
 * of encrypted networks into these devices or drops them.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Datapath } from '../../native/datapath-types.js';
import type { GossipEvent } from '../../native/gossip-types.js';
import type { Logger } from '../../observe/logger.js';
import type { IdentitySource } from '../../rpc/types.js';
import { isUnicast } from '../addresses.js';
import type { OwnEntry } from '../announcer.js';
import {
  DEVICE_POLL_MS,
  HANDSHAKE_WATCH_MS,
  KEY_CHANGE_RETRY_MS,
  KEY_OVERLAP_MAX_MS,
  KEY_SETTLE_MS,
  WIREGUARD_OVERHEAD_BYTES,
  WIREGUARD_SESSION_MS,
} from '../limits.js';
import { DeviceSet } from './device-set.js';
import { KEY_TABLE, type NodeKeys } from './key-record.js';
import { KeySeal } from './key-seal.js';
import { KeyStateFile } from './key-state.js';
import { KnownKeys } from './known-keys.js';
import { type KeySettings, OwnKeys } from './own-keys.js';
import {
  chooseWays,
  NO_WAYS,
  type OwnKey,
  wantedPeers,
  type Ways,
  withoutClashes,
} from './ways.js';
import { DEVICE_NAMES, type WireguardDevices } from './wireguard-device.js';

/** VXLAN's part of the difference between the underlay's MTU and a container's. */
const TUNNEL_OVERHEAD_BYTES = 50;

/** What it is made of. */
export interface EncryptionParts {
  readonly stateDirectory: string;
  /** Where other nodes reach the WireGuard ports. */
  readonly underlayAddress: string;
  readonly identity: IdentitySource;
  readonly devices: WireguardDevices;
  readonly datapath: Pick<Datapath, 'containerMtu' | 'setWireguard'>;
  readonly environment: Environment;
  readonly logger: Logger;
  /** The record or a tunnel address changed: announce and compare. */
  readonly onChange: () => void;
}

/** One per node. */
export class Encryption {
  private readonly parts: EncryptionParts;
  private readonly file: KeyStateFile;
  private readonly known: KnownKeys;
  private readonly own: OwnKeys;
  private readonly devices: DeviceSet;
  private readonly unsubscribe: () => void;
  private nodeId = '';
  private settings: KeySettings = { port: 0, rotationMs: 0 };
  private ways: Ways = NO_WAYS;
  private peers: readonly NodeKeys[] = [];
  /** Rows in force as text; undefined: unknown. */
  private inForce: string | undefined;
  /** Records are stored when they differ from the file. */
  private stored = true;
  private running = false;
  private busy: Promise<void> | undefined;
  private turnMs = Number.NEGATIVE_INFINITY;
  private watchUntilMs = Number.NEGATIVE_INFINITY;
  private settledMs: number | undefined;
  private reported: string | undefined;

  constructor(parts: EncryptionParts) {
    const { environment, identity, underlayAddress } = parts;
    this.parts = parts;
    this.file = new KeyStateFile(
      parts.stateDirectory,
      () =>
        new KeySeal(identity.current().privateKeyPem, (count) => environment.random.bytes(count)),
    );
    this.known = new KnownKeys(
      () => identity.current(),
      () => environment.clock.nowMs(),
    );
    this.own = new OwnKeys({ environment, identity: () => identity.current(), underlayAddress });
    const mtu = parts.datapath.containerMtu + TUNNEL_OVERHEAD_BYTES - WIREGUARD_OVERHEAD_BYTES;
    this.devices = new DeviceSet(parts.devices, mtu);
    this.unsubscribe = identity.subscribe(() => this.certified());
  }

  /** Takes over keys and devices of the last process. */
  async start(): Promise<void> {
    this.running = true;
    try {
      const state = await this.file.load();
      this.own.restore(state);
      this.known.restore(state.records);
    } catch (error) {
      const err = SkepError.from(error).message;
      this.parts.logger.error({ err }, 'encryption keys are lost: new ones are made when needed');
    }
  }

  /** Leaves devices and keys as they are. */
  async stop(): Promise<void> {
    this.running = false;
    this.unsubscribe();
    await this.busy;
  }

  /** The node leaves the cluster: no key, record or device stays. */
  async leave(): Promise<void> {
    await this.stop();
    this.own.clear();
    for (const name of DEVICE_NAMES) await this.parts.devices.remove(name);
    await this.file.clear();
  }

  /**
   * Who this node is and how it takes part, as a session with a manager told. The first call takes
   * former devices into use again: gossip must not bring endpoints before there are ways to them.
   */
  async configure(nodeId: string, settings: KeySettings): Promise<void> {
    const isFirst = this.nodeId === '';
    this.nodeId = nodeId;
    this.settings = settings;
    if (!isFirst || this.own.generations.length === 0) return;
    await this.turn().catch((error: unknown) => this.complain(error));
  }

  /**
   * Resolves once this node can carry encrypted networks.
   * @throws SkepError failed_precondition with one sentence when it cannot
   */
  async require(): Promise<void> {
    const { underlayAddress } = this.parts;
    if (!isUnicast(underlayAddress)) {
      const text = `encrypted networks need a data path address of IPv4, and this node's is ${underlayAddress}`;
      throw new SkepError('failed_precondition', text);
    }
    if (this.nodeId === '') {
      throw new SkepError('unavailable', 'the node has not been told its id by a manager yet');
    }
    // A turn that is under way may have begun before this was asked.
    await this.busy;
    if (this.own.generations.length === 0) this.own.begin(this.settings);
    await this.turn();
    const failure = this.devices.failure;
    // A key change that cannot go on is no reason to refuse work.
    if (failure === undefined || this.devices.works) return;
    if (this.own.record === undefined) {
      // Never in use: the next task tries from the start.
      this.own.clear();
      await this.devices.apply([], []);
    }
    throw new SkepError('failed_precondition', failure);
  }

  /** Entries of the key table; the rest is not for here. */
  apply(event: GossipEvent): void {
    if (event.type !== 'entry' && event.type !== 'entry-removed') return;
    if (event.owner === this.nodeId) return;
    const outcome = this.known.apply(event);
    switch (outcome) {
      case 'unchanged':
        return;
      case 'changed':
        this.stored = false;
        this.watch();
        return;
      default: {
        const { owner } = event;
        this.parts.logger.warn({ owner, why: outcome }, 'an encryption key was not believed');
      }
    }
  }

  /** A network is no longer followed here. */
  dropNetwork(networkId: string): void {
    this.known.dropNetwork(networkId);
    this.watch();
  }

  /** What this node announces on its encrypted networks. */
  entries(networkIds: readonly string[]): readonly OwnEntry[] {
    const { record } = this.own;
    if (record === undefined) return [];
    const { nodeId: key } = this;
    return networkIds.map((networkId) => ({ networkId, table: KEY_TABLE, key, value: record }));
  }

  /** True once this node has a key, or is about to have one. */
  get isInUse(): boolean {
    return this.own.generations.length > 0;
  }

  /** Tunnel addresses to send to, by node id; nodes without one cannot be reached yet. */
  get tunnels(): ReadonlyMap<string, string> {
    return this.ways.tunnels;
  }

  /** The underlay address behind one of a peer's tunnel addresses. */
  underlayOf(tunnelAddress: string): string | undefined {
    const wanted = wantedPeers(this.peers).find((peer) => peer.tunnelAddress === tunnelAddress);
    return wanted?.endpoint.replace(/:\d+$/, '');
  }

  /** This node's certificate or root has changed. */
  private certified(): void {
    this.own.resign();
    this.known.judgeAgain();
    // Sealed under the key of before.
    this.stored = false;
    this.watch();
  }

  /** Called now and then: does what is due. */
  tick(): void {
    const now = this.parts.environment.clock.monotonicMs();
    if (this.busy !== undefined || this.own.generations.length === 0 || this.nodeId === '') return;
    if (now >= this.watchUntilMs && now - this.turnMs < DEVICE_POLL_MS) return;
    this.turn().catch((error: unknown) => this.complain(error));
  }

  private complain(error: unknown): void {
    this.parts.logger.warn({ err: SkepError.from(error).message }, 'WireGuard needs attention');
  }

  private watch(): void {
    const { clock } = this.parts.environment;
    this.watchUntilMs = clock.monotonicMs() + HANDSHAKE_WATCH_MS;
  }

  /** One comparison of keys, devices and ways; one at a time. */
  private turn(): Promise<void> {
    const turn = (this.busy ?? Promise.resolve()).then(() => this.compare());
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.busy === settled) this.busy = undefined;
      });
    this.busy = settled;
    return turn;
  }

  private async compare(): Promise<void> {
    if (!this.running || this.own.generations.length === 0) return;
    this.turnMs = this.parts.environment.clock.monotonicMs();
    // Written anew while nothing happens: somebody else may have changed them.
    if (this.turnMs >= this.watchUntilMs) this.inForce = undefined;
    const { peers, mustMove } = withoutClashes(
      this.nodeId,
      this.own.tunnel(this.nodeId),
      this.known.peers(),
    );
    if (mustMove) this.own.move();
    this.peers = peers;
    this.rotate();
    const wanted = wantedPeers(peers);
    if (await this.devices.apply(this.own.generations, wanted)) this.inForce = undefined;
    this.report();
    await this.publish();
    const sessions = this.devices.sessions(this.own.generations);
    this.use(chooseWays(sessions, this.own.tunnel(this.nodeId), peers));
    this.judgeSettling(sessions, peers);
  }

  /** Begins and ends key changes as they fall due. */
  private rotate(): void {
    const { clock } = this.parts.environment;
    const { generations } = this.own;
    const newest = generations.at(-1);
    if (newest === undefined) return;
    const ageMs = clock.nowMs() - newest.createdMs;
    if (this.devices.failure !== undefined) {
      // The other device works: its key goes on alone, and the change is tried again later.
      const isStuck = generations.length > 1 && ageMs >= KEY_CHANGE_RETRY_MS;
      if (isStuck && this.devices.works) this.own.abandon();
      return;
    }
    if (generations.length === 1) {
      // Services may be published on ports that the node's labels no longer keep for it.
      const isMoved = newest.port !== this.own.portOf(newest.number, this.settings);
      if (ageMs < this.settings.rotationMs && !isMoved) return;
      this.own.begin(this.settings);
      this.settledMs = undefined;
      this.watch();
      return;
    }
    const settled =
      this.settledMs !== undefined && clock.monotonicMs() - this.settledMs >= KEY_SETTLE_MS;
    if (!settled && ageMs < KEY_OVERLAP_MAX_MS) return;
    this.own.finish();
    this.watch();
  }

  /** Notes since when every node with a session on the old key has one on the new key. */
  private judgeSettling(sessions: readonly OwnKey[], peers: readonly NodeKeys[]): void {
    const { clock } = this.parts.environment;
    const [old, fresh] = sessions;
    if (old === undefined || fresh === undefined || this.own.needsRecord()) {
      this.settledMs = undefined;
      return;
    }
    const live = this.devices.liveSince(old.number, clock.nowMs() - WIREGUARD_SESSION_MS);
    const waiting = peers.some(({ generations }) => {
      // Newest with newest: if both ends change keys at once, both may drop the old one at once.
      const isReady = fresh.established.has(generations.at(-1)?.publicKey ?? '');
      return !isReady && generations.some(({ publicKey }) => live.has(publicKey));
    });
    if (waiting) this.settledMs = undefined;
    else this.settledMs ??= clock.monotonicMs();
  }

  /** Signs and stores a new record when one is needed; then it may be announced. */
  private async publish(): Promise<void> {
    if (this.devices.failure !== undefined) return;
    const { own } = this;
    const signed = own.needsRecord() ? own.sign(this.nodeId, this.settings) : undefined;
    if (signed === undefined && this.stored) return;
    this.stored = true;
    try {
      await this.file.save({ ...own.state(), records: this.known.records() });
    } catch (error) {
      this.stored = false;
      own.resign();
      throw error;
    }
    if (signed === undefined) return;
    own.announce(signed);
    this.parts.onChange();
  }

  /** Says once what is wrong, and once that it is over. */
  private report(): void {
    const { failure } = this.devices;
    if (failure === this.reported) return;
    this.reported = failure;
    const { logger } = this.parts;
    if (failure === undefined) logger.info({}, 'encrypted networks work again');
    else
      logger.error({ err: failure }, 'encrypted networks do not work: their packets are dropped');
  }

  private use(ways: Ways): void {
    const rows = JSON.stringify(ways.rows);
    const tunnels = JSON.stringify([...ways.tunnels]);
    const changed = JSON.stringify([...this.ways.tunnels]) !== tunnels;
    this.ways = ways;
    if (this.inForce !== rows) {
      this.parts.datapath.setWireguard(ways.rows);
      this.inForce = rows;
    }
    if (changed) this.parts.onChange();
  }
}
