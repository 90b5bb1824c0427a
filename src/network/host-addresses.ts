/**
 * The host's own addresses, on which published ports answer. They may change while we run.
 */
import type { Datapath, Netlink } from '../native/datapath-types.js';
import { OWN_DEVICE_PREFIX } from './limits.js';

/** Loopback is the socket hooks' business; a link-local address means another host on each link. */
const NOT_PUBLISHED_ON = /^(127\.|::1$|fe[89ab])/;

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
      .filter(({ address }) => !NOT_PUBLISHED_ON.test(address))
      .filter(({ interfaceName }) => !interfaceName.startsWith(OWN_DEVICE_PREFIX))
      .map(({ address }) => address);
    const wanted = [...new Set(addresses)].sort();
    if (wanted.join(' ') === this.told) return;
    this.datapath.setLocalAddresses(wanted);
    this.told = wanted.join(' ');
  }
}
