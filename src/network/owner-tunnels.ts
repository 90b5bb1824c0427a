/**
 * Which tunnels lead to which node, kept over restarts: a node that is removed while this skepd is away is
 * announced by nobody after its return, but what the former process left in the kernel still leads to it,
 * and its data path may go on answering.
 */
import type { EndpointTables } from './tables.js';

/** Where it is kept: by owner, in the node's own state. */
export interface TunnelMemory {
  ownerTunnels: ReadonlyMap<string, readonly string[]>;
}

/** Remembers tunnels by owner. */
export class OwnerTunnels {
  constructor(
    private readonly memory: TunnelMemory,
    private readonly tables: Pick<EndpointTables, 'tunnelsByOwner'>,
  ) {}

  /**
   * Takes over what is announced now. Until the tables have been refilled after a start (`isFilling`) what is
   * known of others stays.
   * @returns whether anything changed, so that it has to be saved
   */
  remember(isFilling: boolean): boolean {
    const known = this.memory.ownerTunnels;
    const announced = this.tables.tunnelsByOwner();
    const next = isFilling ? new Map([...known, ...announced]) : announced;
    const isSame =
      next.size === known.size &&
      [...next].every(([owner, tunnels]) => known.get(owner)?.join() === tunnels.join());
    if (isSame) return false;
    this.memory.ownerTunnels = next;
    return true;
  }

  /** Whether a tunnel led to nodes of `removed` and to no other. */
  ledOnlyTo(removed: ReadonlySet<string>, tunnel: string): boolean {
    const owners = [...this.memory.ownerTunnels].flatMap(([owner, tunnels]) =>
      tunnels.includes(tunnel) ? [owner] : [],
    );
    return owners.length > 0 && owners.every((owner) => removed.has(owner));
  }
}
