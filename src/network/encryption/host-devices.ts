/**
 * Which WireGuard this host has: the kernel's where it offers one and `wg` is there to configure it,
 * else wireguard-go.
 */
import { SkepError } from '../../model/errors.js';
import type { Netlink } from '../../native/datapath-types.js';
import { openKernelDevice } from './kernel-device.js';
import {
  findProgram,
  openUserspaceDevice,
  PROGRAM,
  PROGRAM_DIRECTORIES,
} from './userspace-device.js';
import type { WireguardDevice, WireguardDevices } from './wireguard-device.js';

const TOOL = 'wg';

/** Devices of the host this process runs on. */
export class HostWireguardDevices implements WireguardDevices {
  private readonly netlink: Netlink;
  private readonly directories: readonly string[];

  /** `directories`: where `wg` and `wireguard-go` may be. */
  constructor(netlink: Netlink, directories: readonly string[] = PROGRAM_DIRECTORIES) {
    this.netlink = netlink;
    this.directories = directories;
  }

  async open(name: string, mtu: number): Promise<WireguardDevice> {
    const { netlink, directories } = this;
    // One that works is kept, whichever it is: its sessions are worth more than its kind.
    if (netlink.linkKind(name) === 'tun') {
      return await openUserspaceDevice(name, mtu, netlink, directories);
    }
    const lacking = this.tryKernel(name, mtu);
    if (typeof lacking !== 'string') return lacking;
    if (findProgram(PROGRAM, directories) !== undefined) {
      return await openUserspaceDevice(name, mtu, netlink, directories);
    }
    const text = `this host can do no WireGuard: ${lacking}, and wireguard-go is not installed`;
    throw new SkepError('failed_precondition', text);
  }

  remove(name: string): Promise<void> {
    this.netlink.deleteLink(name);
    return Promise.resolve();
  }

  /** The kernel's device, or what it takes. */
  private tryKernel(name: string, mtu: number): WireguardDevice | string {
    if (findProgram(TOOL, this.directories) === undefined) {
      return 'wg (package wireguard-tools), which configures the kernel, is not installed';
    }
    try {
      return openKernelDevice(name, mtu, this.netlink);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EOPNOTSUPP' && code !== 'ENOTSUP') throw error;
      return 'the kernel has no WireGuard';
    }
  }
}
