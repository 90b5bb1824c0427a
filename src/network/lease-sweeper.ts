/**
 * Gives back addresses of plain containers that the engine has not: containers that went while nobody
 * served the plugin, and those that never came up.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { LEASE_IDLE_MS } from './limits.js';
import { type Lease, type LocalState, placeKey } from './local-state.js';
import type { AttachmentAllocator } from './types.js';

/** What the sweeper works on. */
export interface LeaseSweeperParts {
  readonly state: LocalState;
  readonly attachments: Pick<AttachmentAllocator, 'detach'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** One per node. */
export class LeaseSweeper {
  /** When a lease without an endpoint was first seen, monotonic, by place. */
  private readonly idleSinceMs = new Map<string, number>();
  private sweeping = false;

  constructor(private readonly parts: LeaseSweeperParts) {}

  /**
   * To be called now and then: gives back what nobody has used for {@link LEASE_IDLE_MS}. What no manager
   * takes back now is tried again.
   */
  async sweep(): Promise<void> {
    if (this.sweeping) return;
    this.sweeping = true;
    try {
      for (const lease of this.idle()) await this.giveBack(lease);
    } finally {
      this.sweeping = false;
    }
  }

  private idle(): readonly Lease[] {
    const { state, clock } = this.parts;
    const nowMs = clock.monotonicMs();
    const unused = [...state.leases.values()].filter(
      ({ networkId, address }) => state.endpointAt(networkId, address) === undefined,
    );
    const places = new Set(unused.map(({ networkId, address }) => placeKey(networkId, address)));
    for (const place of this.idleSinceMs.keys())
      if (!places.has(place)) this.idleSinceMs.delete(place);
    for (const place of places)
      if (!this.idleSinceMs.has(place)) this.idleSinceMs.set(place, nowMs);
    return unused.filter(({ networkId, address }) => {
      const sinceMs = this.idleSinceMs.get(placeKey(networkId, address)) ?? nowMs;
      return nowMs - sinceMs >= LEASE_IDLE_MS;
    });
  }

  private async giveBack(lease: Lease): Promise<void> {
    const { state, attachments, logger } = this.parts;
    const { networkId, address, attachmentId } = lease;
    const place = placeKey(networkId, address);
    // First here: an engine that asks for the address now is given another one.
    state.leases.delete(place);
    try {
      await attachments.detach(attachmentId);
    } catch (error) {
      const { code, message } = SkepError.from(error);
      if (code !== 'not_found') {
        logger.debug({ err: message, attachment: attachmentId }, 'an unused address stays taken');
        if (!state.leases.has(place)) state.leases.set(place, lease);
        return;
      }
    }
    this.idleSinceMs.delete(place);
    await state.save();
    logger.info({ address, attachment: attachmentId }, 'unused address given back');
  }
}
