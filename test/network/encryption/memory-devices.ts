/**
 * WireGuard devices without packets, for tests of what is above them: they hold what they are told,
 * and a test says which peers have completed a handshake.
 */
import { SkepError } from '../../../src/model/errors.js';
import { publicKeyOf } from '../../../src/network/encryption/keys.js';
import type {
  DeviceChange,
  DeviceState,
  WantedPeer,
  WireguardDevice,
  WireguardDevices,
} from '../../../src/network/encryption/wireguard-device.js';

/** One of them. */
export class MemoryDevice implements WireguardDevice {
  readonly name: string;
  publicKey = '';
  /** As last told. */
  privateKey: Buffer = Buffer.alloc(0);
  port = 0;
  readonly peers = new Map<string, WantedPeer>();
  /** Wall clock of handshakes by public key, seconds. */
  readonly handshakes = new Map<string, number>();
  dead = false;

  constructor(name: string) {
    this.name = name;
  }

  async change(change: DeviceChange): Promise<void> {
    await this.read();
    if (change.privateKey !== undefined) {
      this.privateKey = Buffer.from(change.privateKey);
      this.publicKey = Buffer.from(publicKeyOf(change.privateKey)).toString('hex');
    }
    this.port = change.port ?? this.port;
    for (const publicKey of change.remove) {
      this.peers.delete(publicKey);
      this.handshakes.delete(publicKey);
    }
    for (const peer of change.add) this.peers.set(peer.publicKey, peer);
  }

  read(): Promise<DeviceState> {
    if (this.dead) return Promise.reject(new SkepError('unavailable', 'the device is gone'));
    const { publicKey, port, handshakes } = this;
    const peers = [...this.peers.keys()].map((key) => ({
      publicKey: key,
      handshakeS: handshakes.get(key) ?? 0,
    }));
    return Promise.resolve({ publicKey, port, peers });
  }

  remove(): Promise<void> {
    this.dead = true;
    return Promise.resolve();
  }
}

/** A host that makes them. */
export class MemoryDevices implements WireguardDevices {
  readonly byName = new Map<string, MemoryDevice>();
  /** Devices that cannot be had, with the reason. */
  readonly refused = new Map<string, string>();

  open(name: string): Promise<WireguardDevice> {
    const reason = this.refused.get(name);
    if (reason !== undefined) return Promise.reject(new SkepError('failed_precondition', reason));
    const known = this.byName.get(name);
    if (known !== undefined && !known.dead) return Promise.resolve(known);
    const device = new MemoryDevice(name);
    this.byName.set(name, device);
    return Promise.resolve(device);
  }

  remove(name: string): Promise<void> {
    const device = this.byName.get(name);
    if (device !== undefined) device.dead = true;
    this.byName.delete(name);
    return Promise.resolve();
  }
}
