/**
 * The interfaces tunnels go through: those that carry this node's own addresses, and those its routes
 * to the other nodes leave by. Routes and interfaces may change while we run.
 */
import type { Datapath, Netlink, NodeRow } from '../native/datapath-types.js';
import type { Logger } from '../observe/logger.js';
import { OWN_DEVICE_PREFIX, ROUTES_PER_TURN } from './limits.js';

/** What is compared, and who is told. */
export interface UnderlayParts {
  readonly netlink: Pick<Netlink, 'addresses' | 'routeTo'>;
  readonly datapath: Pick<Datapath, 'setUnderlay'>;
  /** Data path and advertised address. */
  readonly ownAddresses: readonly string[];
  readonly logger: Logger;
}

/** Keeps the data path told. */
export class Underlay {
  private readonly parts: UnderlayParts;
  /** Interface by tunnel address, in the order they were looked at; undefined: no route, or not looked yet. */
  private readonly routes = new Map<string, string | undefined>();

  constructor(parts: UnderlayParts) {
    this.parts = parts;
  }

  /**
   * Takes in which nodes there are; routes to new ones are looked at now.
   * @returns whether the interfaces changed
   * @throws Node-like errors of netlink and the data path
   */
  follow(nodes: readonly Pick<NodeRow, 'tunnelAddress'>[]): boolean {
    const tunnels = new Set(nodes.map(({ tunnelAddress }) => tunnelAddress));
    for (const known of this.routes.keys()) if (!tunnels.has(known)) this.routes.delete(known);
    const added = [...tunnels].filter((tunnel) => !this.routes.has(tunnel));
    if (added.length === 0) return false;
    const later = [...this.routes];
    this.routes.clear();
    for (const tunnel of added) this.routes.set(tunnel, undefined);
    for (const [tunnel, name] of later) this.routes.set(tunnel, name);
    return this.look();
  }

  /**
   * Looks at the routes again, those first that were not looked at for longest.
   * @returns whether the interfaces changed
   * @throws Node-like errors of netlink and the data path
   */
  look(): boolean {
    for (const tunnel of [...this.routes.keys()].slice(0, ROUTES_PER_TURN)) {
      this.routes.delete(tunnel);
      this.routes.set(tunnel, this.interfaceTo(tunnel));
    }
    const { netlink, datapath, ownAddresses, logger } = this.parts;
    const names = netlink
      .addresses()
      .filter(({ address }) => ownAddresses.includes(address))
      .map(({ interfaceName }) => interfaceName);
    for (const name of this.routes.values()) if (name !== undefined) names.push(name);
    const interfaces = [...new Set(names)].sort();
    if (!datapath.setUnderlay(interfaces)) return false;
    logger.info({ interfaces }, 'tunnels go through these interfaces now');
    return true;
  }

  private interfaceTo(tunnel: string): string | undefined {
    try {
      const { interfaceName } = this.parts.netlink.routeTo(tunnel);
      const isOwn = interfaceName === 'lo' || interfaceName.startsWith(OWN_DEVICE_PREFIX);
      return isOwn ? undefined : interfaceName;
    } catch {
      // No route now: its interface may be down.
      return undefined;
    }
  }
}
