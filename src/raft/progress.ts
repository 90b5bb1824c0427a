/**
 * The leader's view of one member's log: how far it matches, what to send next, and how freely.
 * `probe`: one append at a time until the point of agreement is found; `replicate`: optimistic
 * stream within the window; `snapshot`: nothing until the snapshot is reported or the member
 * answers from beyond it.
 */
import type { Inflights } from './inflights.js';

/** How appends are sent to the member. */
export type ProgressState =
  | { readonly kind: 'probe' }
  | { readonly kind: 'replicate' }
  | { readonly kind: 'snapshot'; readonly index: number };

/** See the file's head. */
export class Progress {
  readonly inflights: Inflights;
  /** Highest index known to be on the member's disk. */
  match: number;
  /** Next index to send. */
  next: number;
  state: ProgressState = { kind: 'probe' };
  /** Whether the member was heard of since the last quorum check. */
  recentActive = false;
  /** Appends are held back until something is heard from the member. */
  paused = false;
  /** Highest commit index told to the member, as far as known. */
  sentCommit = 0;

  constructor(options: {
    readonly match: number;
    readonly next: number;
    readonly inflights: Inflights;
  }) {
    this.match = options.match;
    this.next = options.next;
    this.inflights = options.inflights;
  }

  /** True while no append may be sent. */
  get isPaused(): boolean {
    return this.state.kind === 'snapshot' || this.paused;
  }

  becomeProbe(): void {
    // A snapshot that was sent may have arrived: continue behind it, a rejection corrects us.
    const pending = this.state.kind === 'snapshot' ? this.state.index : 0;
    this.#reset({ kind: 'probe' });
    this.next = Math.max(this.match + 1, pending + 1);
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  becomeReplicate(): void {
    this.#reset({ kind: 'replicate' });
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#reset({ kind: 'snapshot', index });
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** The snapshot did not arrive: probe from what is known to match. */
  snapshotFailed(): void {
    this.#reset({ kind: 'probe' });
    this.next = this.match + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  /** Accounts for an append with `count` entries just sent. */
  sent(count: number, bytes: number): void {
    if (this.state.kind === 'replicate') {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      this.paused = this.inflights.isFull;
    } else if (count > 0) {
      this.paused = true;
    }
  }

  /** Takes an acknowledgement up to `index`; false when it says nothing new. */
  acknowledge(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.paused = false;
    return true;
  }

  /**
   * Takes a rejection of an append after `rejected`, with the leader's guess where the logs may
   * match; false when the rejection is out of date.
   */
  reject(rejected: number, matchHint: number): boolean {
    if (this.state.kind === 'replicate') {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
      this.paused = false;
    }
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    return true;
  }

  /** Whether an empty append would tell the member of a higher commit index. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  #reset(state: ProgressState): void {
    this.state = state;
    this.paused = false;
    this.inflights.clear();
  }
}
