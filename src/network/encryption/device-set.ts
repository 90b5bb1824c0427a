/**
 * The WireGuard devices of this node, one for each of its keys: kept alive, given keys and peers by
 * difference only (touching a peer that is right could cost its session), and read.
 */
import dgram from 'node:dgram';
import { SkepError } from '../../model/errors.js';
import type { OwnGeneration } from './key-state.js';
import { publicKeyOf } from './keys.js';
import type { OwnKey } from './ways.js';
import {
  DEVICE_NAMES,
  deviceName,
  type DeviceState,
  type WantedPeer,
  type WireguardDevice,
  type WireguardDevices,
} from './wireguard-device.js';

/** A device in use. */
interface Running {
  readonly device: WireguardDevice;
  state: DeviceState;
  /** What each peer was last told, by public key: endpoints that roamed since are left alone. */
  readonly told: Map<string, string>;
}

/** Devices by name. */
export class DeviceSet {
  private readonly devices: WireguardDevices;
  private readonly mtu: number;
  private readonly running = new Map<string, Running>();
  private readonly failures = new Map<string, string>();
  /** Devices of a former process that nobody uses are removed once. */
  private swept = false;

  constructor(devices: WireguardDevices, mtu: number) {
    this.devices = devices;
    this.mtu = mtu;
  }

  /** True while a device works; the other may have failed. */
  get works(): boolean {
    return this.running.size > 0;
  }

  /** One sentence while a device cannot be had. */
  get failure(): string | undefined {
    return [...this.failures.values()][0];
  }

  /**
   * Brings the devices of these keys to exactly these peers, ends the others. True if a device was
   * opened: the data path has to be told.
   */
  async apply(
    generations: readonly OwnGeneration[],
    peers: readonly WantedPeer[],
  ): Promise<boolean> {
    const wanted = new Set(generations.map(({ number }) => deviceName(number)));
    let opened = false;
    for (const name of DEVICE_NAMES) {
      const mayExist = !this.swept || this.running.has(name) || this.failures.has(name);
      if (wanted.has(name) || !mayExist) continue;
      this.running.delete(name);
      this.failures.delete(name);
      await this.devices.remove(name);
    }
    this.swept = true;
    for (const generation of generations) {
      const name = deviceName(generation.number);
      try {
        opened = (await this.keep(name, generation, peers)) || opened;
        this.failures.delete(name);
      } catch (error) {
        this.running.delete(name);
        this.failures.set(name, SkepError.from(error).message);
      }
    }
    return opened;
  }

  /** Own keys with the peers that have a session, oldest first. */
  sessions(generations: readonly OwnGeneration[]): readonly OwnKey[] {
    return generations.map(({ number }) => ({ number, established: this.since(number, 1) }));
  }

  /** Public keys of peers whose last handshake with this own key was after `sinceMs` (wall clock). */
  liveSince(number: bigint, sinceMs: number): ReadonlySet<string> {
    return this.since(number, Math.floor(sinceMs / 1000));
  }

  private since(number: bigint, leastS: number): ReadonlySet<string> {
    const peers = this.running.get(deviceName(number))?.state.peers ?? [];
    return new Set(
      peers.filter(({ handshakeS }) => handshakeS >= leastS).map(({ publicKey }) => publicKey),
    );
  }

  /** True if the device had to be opened. */
  private async keep(
    name: string,
    generation: OwnGeneration,
    peers: readonly WantedPeer[],
  ): Promise<boolean> {
    const former = this.running.get(name);
    const state = await former?.device.read().catch(() => undefined);
    if (former !== undefined && state !== undefined) {
      former.state = state;
      await adjust(former, generation, peers);
      return false;
    }
    const device = await this.devices.open(name, this.mtu);
    const fresh: Running = { device, state: await device.read(), told: new Map() };
    await adjust(fresh, generation, peers);
    this.running.set(name, fresh);
    return true;
  }
}

/** Makes key, port and peers of a device right. @throws SkepError failed_precondition: port taken */
async function adjust(
  running: Running,
  { privateKey, port }: OwnGeneration,
  peers: readonly WantedPeer[],
): Promise<void> {
  const { device, state, told } = running;
  const isKeyed = state.publicKey === Buffer.from(publicKeyOf(privateKey)).toString('hex');
  const isBound = state.port === port;
  if (!isBound && !(await isFree(port))) throw portTaken(port);
  const wanted = new Map(peers.map((peer) => [peer.publicKey, peer]));
  const present = new Set(state.peers.map(({ publicKey }) => publicKey));
  const remove = [...present].filter((publicKey) => !wanted.has(publicKey));
  const add = peers.filter((peer) => {
    const words = `${peer.endpoint} ${peer.tunnelAddress}`;
    // A device that was taken over was told by the last process.
    if (present.has(peer.publicKey) && (told.get(peer.publicKey) ?? words) === words) {
      told.set(peer.publicKey, words);
      return false;
    }
    told.set(peer.publicKey, words);
    return true;
  });
  for (const publicKey of remove) told.delete(publicKey);
  if (isKeyed && isBound && add.length + remove.length === 0) return;
  try {
    const own = { ...(isKeyed ? {} : { privateKey }), ...(isBound ? {} : { port }) };
    await device.change({ ...own, add, remove });
  } catch (error) {
    throw SkepError.from(error).code === 'already_exists' ? portTaken(port) : error;
  }
  running.state = await device.read();
}

function portTaken(port: number): SkepError {
  return new SkepError(
    'failed_precondition',
    `UDP port ${port} (encrypted networks) is in use by another process: stop it, or choose ` +
      'another port with "docker node update --label-add skep.encryption.port=PORT NODE"',
  );
}

/** Whether a UDP port can be bound on every address. */
async function isFree(port: number): Promise<boolean> {
  const socket = dgram.createSocket('udp4');
  try {
    return await new Promise((resolve) => {
      socket.on('error', () => resolve(false));
      socket.bind({ port, exclusive: true }, () => resolve(true));
    });
  } finally {
    socket.close();
  }
}
