/**
 * Ports that are published no more, or not on this node, while connections through them go on: their
 * rows stay, without backends. A row without backends gives nothing to a new connection, it goes
 * to the host as if there were none, but tracked ones find their way.
 */
import type { Clock } from '../model/environment.js';
import type { ServiceRow } from '../native/datapath-types.js';
import { addressKey, type DesiredDatapath, serviceKeyText } from './desired.js';
import { RETIRED_PORTS_MAX, RETIRED_PORT_MS } from './limits.js';

interface RetiredPort {
  readonly row: ServiceRow;
  /** Monotonic. */
  readonly sinceMs: number;
}

/** Remembers what was wanted last, and keeps what vanished from it. */
export class RetiredPorts {
  private readonly clock: Pick<Clock, 'monotonicMs'>;
  private last = new Map<string, ServiceRow>();
  /** Oldest first. */
  private readonly retired = new Map<string, RetiredPort>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.clock = clock;
  }

  /** `desired` with the retired rows. */
  merge(desired: DesiredDatapath): DesiredDatapath {
    const wanted = new Map<string, ServiceRow>();
    for (const row of desired.services) {
      if (row.key.kind !== 'vip') wanted.set(serviceKeyText(row.key), row);
    }
    const sinceMs = this.clock.monotonicMs();
    for (const [key, row] of this.last) {
      if (!wanted.has(key))
        this.retired.set(key, { row: { ...row, backends: [], retired: true }, sinceMs });
    }
    this.last = wanted;
    const backends = new Set(desired.backends.map(addressKey));
    for (const [key, { row, sinceMs: since }] of this.retired) {
      // A landing is of use only while its backend is there.
      const isIdle = row.key.kind === 'landing' && !backends.has(addressKey(row.key));
      const isOld = sinceMs - since >= RETIRED_PORT_MS;
      const isSurplus = this.retired.size > RETIRED_PORTS_MAX;
      // A range's blocks of ports must not hide those of a range that is wanted.
      const isHidden =
        (row.ports ?? 1) > 1 && [...wanted.values()].some((other) => meet(row, other));
      if (wanted.has(key) || isIdle || isOld || isSurplus || isHidden) this.retired.delete(key);
    }
    if (this.retired.size === 0) return desired;
    const rows = [...this.retired.values()].map(({ row }) => row);
    return { ...desired, services: [...desired.services, ...rows] };
  }
}

/** Whether two rows of all addresses have a port in common. */
function meet(a: ServiceRow, b: ServiceRow): boolean {
  if (a.key.kind !== 'published' || b.key.kind !== 'published') return false;
  if (a.key.protocol !== b.key.protocol) return false;
  const last = ({ ports = 1 }: ServiceRow, first: number) => first + ports - 1;
  return a.key.port <= last(b, b.key.port) && b.key.port <= last(a, a.key.port);
}
