/**
 * The host's own addresses, on which published ports answer. They may change while we run.
 */
import type { Datapath, Netlink } from '../native/datapath-types.js';
import { OWN_DEVICE_PREFIX } from './limits.js';

/** Tells the data path when the addresses changed. */
export class HostAddresses {
  private readonly netlink: Pick<Netlink, 'addresses'>;
  private readonly datapath: Pick<Datapath, 'setLocalAddresses'>;
  private told = '';

  constructor(netlink: Pick<Netlink, 'addresses'>, datapath: Pick<Datapath, 'setLocalAddresses'>) {
    this.netlink = netlink;
    this.datapath = datapath;
  }

  /** Reads and compares. @throws Node-like errors of netlink and the data path */
  refresh(): void {
    const addresses = this.netlink
      .addresses()
      .filter(({ address }) => !address.startsWith('127.'))
      .filter(({ interfaceName }) => !interfaceName.startsWith(OWN_DEVICE_PREFIX))
      .map(({ address }) => address);
    const wanted = [...new Set(addresses)].sort();
    if (wanted.join(' ') === this.told) return;
    this.datapath.setLocalAddresses(wanted);
    this.told = wanted.join(' ');
  }
}
