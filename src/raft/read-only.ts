/**
 * Linearizable reads without a log entry (ReadIndex, Raft thesis 6.4): the leader remembers its
 * commit index when a request arrives and answers once a majority has confirmed, after that, that
 * it still leads. A confirmation of a request confirms all earlier ones.
 */
import type { NodeId } from './types.js';

/** A request waiting for its confirmations. */
export interface PendingRead {
  readonly context: string;
  /** Who asked. */
  readonly from: NodeId;
  /** The commit index when it arrived. */
  readonly index: number;
  readonly confirmedBy: Set<NodeId>;
}

/** Requests in the order they came. */
export class ReadOnlyQueue {
  #pending: PendingRead[] = [];

  get size(): number {
    return this.#pending.length;
  }

  /** Context of the newest request, or empty. */
  get lastContext(): string {
    return this.#pending.at(-1)?.context ?? '';
  }

  /** Adds a request, confirmed by the leader itself; a known context is not added twice. */
  add(read: Omit<PendingRead, 'confirmedBy'>, self: NodeId): void {
    if (this.#pending.some((pending) => pending.context === read.context)) return;
    this.#pending.push({ ...read, confirmedBy: new Set([self]) });
  }

  /** Notes a confirmation; returns the request it is for. */
  confirm(context: string, from: NodeId): PendingRead | undefined {
    const read = this.#pending.find((pending) => pending.context === context);
    read?.confirmedBy.add(from);
    return read;
  }

  /** Takes out the requests up to and including the one with `context`. */
  takeThrough(context: string): readonly PendingRead[] {
    const at = this.#pending.findIndex((pending) => pending.context === context);
    return this.#pending.splice(0, at + 1);
  }

  clear(): void {
    this.#pending = [];
  }
}
