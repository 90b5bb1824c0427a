/**
 * The host's own addresses, on which published ports answer. They may change while we run.
 */
import type { Datapath, Netlink } from '../native/datapath-types.js';
import { OWN_DEVICE_PREFIX } from './limits.js';

/** Loopback is the socket hooks' business; a link-local address means another host on each link. */
const NOT_PUBLISHED_ON = /^(127\.|::1$|fe[89ab])/;

/** An address of the host. */
export interface HostAddress {
  readonly address: string;
  readonly interfaceName: string;
}

/** Tells the data path when the addresses changed. */
export class HostAddresses {
  private readonly netlink: Pick<Netlink, 'addresses'>;
  private readonly datapath: Pick<Datapath, 'setLocalAddresses'>;
  private told = '';
  private known: readonly HostAddress[] = [];

  constructor(netlink: Pick<Netlink, 'addresses'>, datapath: Pick<Datapath, 'setLocalAddresses'>) {
    this.netlink = netlink;
    this.datapath = datapath;
  }

  /** As of the last refresh, with the interface that has each. */
  get all(): readonly HostAddress[] {
    return this.known;
  }

  /**
   * Reads and compares; after a change of the underlay the data path is `always` told.
   * @returns whether anything changed
   * @throws Node-like errors of netlink and the data path
   */
  refresh(always = false): boolean {
    const known = this.netlink
      .addresses()
      .filter(({ address }) => !NOT_PUBLISHED_ON.test(address))
      .filter(({ interfaceName }) => !interfaceName.startsWith(OWN_DEVICE_PREFIX))
      .map(({ address, interfaceName }) => ({ address, interfaceName }));
    const text = known.map(({ address, interfaceName }) => `${address} ${interfaceName}`).sort();
    if (!always && text.join('\n') === this.told) return false;
    this.datapath.setLocalAddresses([...new Set(known.map(({ address }) => address))].sort());
    this.known = known;
    this.told = text.join('\n');
    return true;
  }
}
