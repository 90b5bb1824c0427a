/**
 * A WireGuard device as this room uses it, whoever does the work: the kernel or wireguard-go. Keys
 * are lower-case hexadecimal.
 */

/** A peer to be configured. */
export interface WantedPeer {
  readonly publicKey: string;
  /** `address:port` on the underlay. */
  readonly endpoint: string;
  /** The one address packets of this peer may come from and are sent to. */
  readonly tunnelAddress: string;
}

/** Changes to a device; what is not named stays. */
export interface DeviceChange {
  readonly privateKey?: Uint8Array;
  readonly port?: number;
  readonly add: readonly WantedPeer[];
  /** Public keys. */
  readonly remove: readonly string[];
}

/** A peer as it is. */
export interface PeerState {
  readonly publicKey: string;
  /** Wall clock of the last handshake, seconds; 0: none yet. */
  readonly handshakeS: number;
}

/** A device as it is. */
export interface DeviceState {
  /** Empty while it has none. */
  readonly publicKey: string;
  readonly port: number;
  readonly peers: readonly PeerState[];
}

/** One device. Every call rejects with a SkepError once the device is gone. */
export interface WireguardDevice {
  readonly name: string;
  change(change: DeviceChange): Promise<void>;
  read(): Promise<DeviceState>;
  /** Ends it, and what drives it; no error if it is gone. */
  remove(): Promise<void>;
}

/** Makes devices. */
export interface WireguardDevices {
  /**
   * Takes over the device of this name if it works, else makes it; up, with the MTU (bytes) given.
   * @throws SkepError failed_precondition with one sentence when this host can do no WireGuard
   */
  open(name: string, mtu: number): Promise<WireguardDevice>;
  /** Ends a device left by a former process. */
  remove(name: string): Promise<void>;
}

/** Devices a node uses in turn, by the parity of the key's number. */
export const DEVICE_NAMES = ['sw-wg0', 'sw-wg1'] as const;

/** The device for keys with this number. */
export function deviceName(generation: bigint): string {
  return DEVICE_NAMES[Number(generation & 1n)] ?? DEVICE_NAMES[0];
}
