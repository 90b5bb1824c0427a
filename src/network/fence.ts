/**
 * Fencing: a node that has reached neither a manager nor half of the others for `skep.fence_after` takes
 * its own containers off the swarm's networks, because their addresses may soon be given to others. With
 * the first contact they come back, except those the managers have given up meanwhile. Loss of the
 * managers alone, or of the nodes alone, fences nothing.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { ownAddressesMs } from '../model/fencing.js';
import type { Netlink } from '../native/datapath-types.js';
import type { Logger } from '../observe/logger.js';
import type { LocalState } from './local-state.js';

/** Whom this node reaches at this moment. */
export interface Contacts {
  /** A manager, by gossip or data path. */
  readonly manager: boolean;
  /** Tasks that are to run here, as told in the present session; undefined before it is told. */
  readonly assigned: ReadonlySet<string> | undefined;
  /** Other members of the ring that are reached, and all that are known. */
  readonly reached: number;
  readonly others: number;
}

/** What is fenced, and how. */
export interface FenceParts {
  readonly clock: Clock;
  readonly state: LocalState;
  readonly netlink: Pick<Netlink, 'setLinkUp' | 'setLinkDown'>;
  readonly logger: Logger;
}

/** Of one node. */
export class Fence {
  private readonly parts: FenceParts;
  /** Nobody has been reached since, monotonic. */
  private aloneSinceMs: number | undefined;
  private isFenced = false;
  /** A former process may have left links down. */
  private isFirst = true;

  constructor(parts: FenceParts) {
    this.parts = parts;
  }

  /** Looks at the contacts; `afterMs` is the cluster's setting. True if anything was fenced or freed. */
  look(contacts: Contacts, afterMs: number): boolean {
    const now = this.parts.clock.monotonicMs();
    if (this.isInTouch(contacts)) {
      const aloneMs = now - (this.aloneSinceMs ?? now);
      // For as long as nobody else can have got the addresses, the ring's word is enough.
      const { assigned } = contacts;
      if (assigned === undefined && this.isFenced && aloneMs >= ownAddressesMs(afterMs))
        return false;
      this.aloneSinceMs = undefined;
      return this.lift(assigned);
    }
    this.aloneSinceMs ??= now;
    if (now - this.aloneSinceMs < afterMs) return false;
    return this.fence('reached nobody for too long');
  }

  private isInTouch({ manager, assigned, reached, others }: Contacts): boolean {
    return manager || assigned !== undefined || (others > 0 && 2 * reached >= others);
  }

  /** Takes all off the networks, also what was made since the last look. True if anything was. */
  fence(why: string): boolean {
    const { state, logger } = this.parts;
    const fresh = [...state.endpoints.values()].filter((each) => state.isServing(each));
    if (fresh.length === 0 && this.isFenced) return false;
    if (!this.isFenced) {
      const endpoints = fresh.length;
      logger.error({ endpoints }, `${why}: own endpoints are off the networks`);
    }
    this.isFenced = true;
    for (const { id, interfaceName } of fresh) {
      state.fenced.add(id);
      this.setLink(interfaceName, 'setLinkDown');
    }
    return true;
  }

  private lift(assigned: ReadonlySet<string> | undefined): boolean {
    const { state, logger } = this.parts;
    if (!this.isFenced && !this.isFirst) return false;
    const wasFenced = this.isFenced;
    this.isFenced = false;
    this.isFirst = false;
    const stopping = this.stopping(assigned);
    for (const { id, interfaceName } of state.endpoints.values()) {
      // An address that was given up may be somebody else's by now.
      if (stopping.has(id)) continue;
      state.fenced.delete(id);
      this.setLink(interfaceName, 'setLinkUp');
    }
    if (wasFenced)
      logger.warn({ left: state.fenced.size }, 'own endpoints are on the networks again');
    return wasFenced;
  }

  /** Fenced endpoints of tasks that are being stopped, or are about to be. */
  private stopping(assigned: ReadonlySet<string> | undefined): ReadonlySet<string> {
    const { state } = this.parts;
    const ids = new Set<string>();
    for (const { taskId, draining, attachments } of state.tasks.values()) {
      if (!draining && assigned?.has(taskId) !== false) continue;
      for (const { networkId, address } of attachments) {
        const endpoint = state.endpointAt(networkId, address);
        if (endpoint !== undefined && state.fenced.has(endpoint.id)) ids.add(endpoint.id);
      }
    }
    return ids;
  }

  private setLink(name: string | undefined, act: 'setLinkUp' | 'setLinkDown'): void {
    if (name === undefined) return;
    try {
      this.parts.netlink[act](name);
    } catch (error) {
      // Its container has just ended.
      this.parts.logger.debug({ name, err: SkepError.from(error).message }, 'link is gone');
    }
  }
}
