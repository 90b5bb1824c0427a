/**
 * Virtual addresses of services that have no task any more. Nodes know them by their tasks alone, so
 * with the last one the address would be nobody's, and packets to it would vanish; its row stays,
 * without backends, and clients are refused as by a host where nobody listens.
 */
import type { ServiceRow } from '../native/datapath-types.js';
import { addressKey, type DesiredDatapath } from './desired.js';
import { RETIRED_ADDRESSES_MAX } from './limits.js';

/** Remembers the virtual addresses that were wanted last, and keeps those that vanished. */
export class RetiredAddresses {
  private last = new Map<string, ServiceRow>();
  /** Oldest first. */
  private readonly retired = new Map<string, ServiceRow>();

  /**
   * `desired` with the retired rows: as long as their network is here and nobody else has the
   * address. `own` are those of this node's containers (see {@link addressKey}).
   */
  merge(desired: DesiredDatapath, own: ReadonlySet<string>): DesiredDatapath {
    const wanted = new Map<string, ServiceRow>();
    for (const row of desired.services) {
      if (row.key.kind === 'vip') wanted.set(addressKey(row.key), row);
    }
    for (const [key, row] of this.last) {
      if (!wanted.has(key)) this.retired.set(key, { ...row, backends: [] });
    }
    this.last = wanted;
    const networks = new Set(desired.networks.map(({ vni }) => vni));
    const remote = new Set(desired.remoteEndpoints.map(addressKey));
    for (const [key, { key: place }] of this.retired) {
      const isGone = place.kind !== 'vip' || !networks.has(place.vni);
      const isOthers = wanted.has(key) || remote.has(key) || own.has(key);
      if (isGone || isOthers || this.retired.size > RETIRED_ADDRESSES_MAX) this.retired.delete(key);
    }
    if (this.retired.size === 0) return desired;
    return { ...desired, services: [...desired.services, ...this.retired.values()] };
  }
}
