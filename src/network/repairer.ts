/**
 * Compares what the kernel holds with what it should hold, every few seconds: tables, container
 * interfaces, programs, the host leg's addresses and the netfilter rules. What somebody else
 * removed or changed is put back and counted, so that an operator sees that it happens.
 */
import type { Clock } from '../model/environment.js';
import type { Datapath, LinkRow } from '../native/datapath-types.js';
import type { Logger } from '../observe/logger.js';
import type { Reconciler } from './reconciler.js';

/** What has been put back since this process began. */
export interface RepairCounts {
  /** Rows of the kernel's tables. */
  readonly rows: number;
  /** Container interfaces whose row was gone. */
  readonly links: number;
  /** Programs that had been detached, addresses and routes of the host's leg. */
  readonly parts: number;
  /** Times the netfilter rules were put back. */
  readonly rules: number;
}

/** What is compared. */
export interface RepairerParts {
  readonly reconciler: Reconciler;
  readonly datapath: Datapath;
  /** Container interfaces that must be attached. */
  readonly links: () => readonly LinkRow[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Repairs one node's data path. */
export class Repairer {
  private readonly parts: RepairerParts;
  private totals: RepairCounts = { rows: 0, links: 0, parts: 0, rules: 0 };
  private busy = false;
  private notBeforeMs = 0;

  constructor(parts: RepairerParts) {
    this.parts = parts;
  }

  get counts(): RepairCounts {
    return this.totals;
  }

  /**
   * One comparison. With very large tables it takes longer; it then runs less often, so that it
   * never takes more than a fiftieth of the time. @throws SkepError if putting back failed
   */
  async turn(): Promise<void> {
    const { clock } = this.parts;
    const beganMs = clock.monotonicMs();
    if (this.busy || beganMs < this.notBeforeMs) return;
    this.busy = true;
    try {
      const links = this.repairLinks();
      const { written, removed } = this.parts.reconciler.repair();
      const rows = written + removed;
      this.notBeforeMs = beganMs + COST_FACTOR * (clock.monotonicMs() - beganMs);
      const { parts, rules } = await this.parts.datapath.repair();
      this.count({ rows, links, parts, rules: rules ? 1 : 0 });
    } finally {
      this.busy = false;
    }
  }

  private repairLinks(): number {
    const { datapath } = this.parts;
    const attached = new Set(datapath.links().map(textOf));
    const missing = this.parts.links().filter((link) => !attached.has(textOf(link)));
    for (const link of missing) datapath.attachLink(link);
    return missing.length;
  }

  private count(found: RepairCounts): void {
    const { totals } = this;
    if (found.rows + found.links + found.parts + found.rules === 0) return;
    this.totals = {
      rows: totals.rows + found.rows,
      links: totals.links + found.links,
      parts: totals.parts + found.parts,
      rules: totals.rules + found.rules,
    };
    this.parts.logger.warn({ repaired: found }, 'the data path had been changed and was repaired');
  }
}

/** A comparison that took t is followed by a pause of at least this many t. */
const COST_FACTOR = 50;

function textOf({ interfaceName, vni, address, mac }: LinkRow): string {
  return `${interfaceName} ${vni} ${address} ${mac}`;
}
