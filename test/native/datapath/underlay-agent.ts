/**
 * The watch over routes and underlay interfaces of one node, inside an actor that owns its data path.
 */
import type { KernelDatapath } from '../../../src/native/datapath.js';
import { openNetlink } from '../../../src/native/netlink.js';
import { HostAddresses } from '../../../src/network/host-addresses.js';
import { Underlay } from '../../../src/network/underlay.js';
import { createLogger } from '../../../src/observe/logger.js';

/** As NodeNetwork uses it; the test says when to look. */
export class UnderlayAgent {
  private readonly addresses: HostAddresses;
  private readonly underlay: Underlay;

  constructor(datapath: KernelDatapath, ownAddress: string) {
    const netlink = openNetlink();
    this.addresses = new HostAddresses(netlink, datapath);
    this.underlay = new Underlay({
      ...{ netlink, datapath, ownAddresses: [ownAddress] },
      logger: createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'fatal' }),
    });
  }

  follow(tunnels: readonly string[]): boolean {
    const changed = this.underlay.follow(tunnels.map((tunnelAddress) => ({ tunnelAddress })));
    if (changed) this.addresses.refresh(true);
    return changed;
  }

  look(): boolean {
    const changed = this.underlay.look();
    if (changed) this.addresses.refresh(true);
    return changed;
  }
}
