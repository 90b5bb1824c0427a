/**
 * The log of one node, in memory from its base (the last snapshot, or the point it was compacted
 * to) on. `stable` says up to where it is known to be on disk, `handedOut` up to where it was given
 * out to be written; `committed` and `applied` are Raft's.
 */
import { invariant } from '../model/errors.js';
import type { Entry, Snapshot, SnapshotMeta } from './types.js';

/** A point in the log. */
export interface LogPosition {
  readonly index: number;
  readonly term: number;
}

/** Bytes an entry counts for in limits: data and a small envelope. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + 16;
}

/** See the file's head. */
export class RaftLog {
  #base: LogPosition;
  /** Entries from `base.index + 1` on, without gaps. */
  #entries: Entry[];
  #stable: number;
  #handedOut: number;
  #committed: number;
  #applied: number;
  #pendingSnapshot: Snapshot | undefined;

  constructor(base: LogPosition, entries: readonly Entry[], committed: number) {
    this.#base = base;
    this.#entries = [...entries];
    entries.forEach((entry, at) =>
      invariant(entry.index === base.index + 1 + at, `log has a gap before ${entry.index}`),
    );
    this.#stable = this.lastIndex;
    this.#handedOut = this.lastIndex;
    this.#applied = base.index;
    this.#committed = Math.max(committed, base.index);
    invariant(this.#committed <= this.lastIndex, 'the commit index lies beyond the stored log');
  }

  get firstIndex(): number {
    return this.#base.index + 1;
  }

  get lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#base.term;
  }

  get committed(): number {
    return this.#committed;
  }

  get applied(): number {
    return this.#applied;
  }

  get stable(): number {
    return this.#stable;
  }

  /** A snapshot from the leader that is not on disk yet. */
  get pendingSnapshot(): Snapshot | undefined {
    return this.#pendingSnapshot;
  }

  /** Term of the entry at `index`; undefined if it is compacted or beyond the end. */
  termAt(index: number): number | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term;
  }

  matches(index: number, term: number): boolean {
    return this.termAt(index) === term;
  }

  /** Whether a log ending there may lead this one (Raft paper, 5.4.1). */
  isUpToDate(index: number, term: number): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex);
  }

  /** Entries from `from` on, at least one if there is one, then as many as fit in `bytesMax`. */
  entriesFrom(from: number, bytesMax: number): readonly Entry[] {
    return this.#range(from, this.lastIndex, bytesMax);
  }

  /** Appends own entries at the end. */
  append(entries: readonly Entry[]): void {
    this.#entries.push(...entries);
  }

  /**
   * Takes a leader's entries after (`index`, `logTerm`). Entries that are there already stay: a
   * late message must not cut off what was acknowledged since. Returns the index of the last entry
   * known to match the leader's, or undefined if the logs do not meet at `index`.
   */
  appendAfter(
    index: number,
    logTerm: number,
    entries: readonly Entry[],
    leaderCommit: number,
  ): number | undefined {
    if (!this.matches(index, logTerm)) return undefined;
    const lastNew = index + entries.length;
    const conflict = entries.find((entry) => !this.matches(entry.index, entry.term));
    if (conflict !== undefined) {
      invariant(conflict.index > this.#committed, 'a committed entry conflicts with the leader');
      this.#truncateFrom(conflict.index);
      this.#entries.push(...entries.slice(conflict.index - index - 1));
    }
    this.commitTo(Math.min(leaderCommit, lastNew));
    return lastNew;
  }

  /**
   * The highest position at or below `index` whose term is at most `term`: where logs may still
   * agree. A whole term is skipped in one step. The term is 0 if it is compacted.
   */
  findConflictByTerm(index: number, term: number): LogPosition {
    for (let at = Math.min(index, this.lastIndex); at > 0; at--) {
      const ours = this.termAt(at);
      if (ours === undefined) return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Moves the commit index up; never down. */
  commitTo(index: number): void {
    if (index <= this.#committed) return;
    // Happens when a member lost its disk and came back under its old id.
    invariant(
      index <= this.lastIndex,
      `told to commit ${index}, but the log ends at ${this.lastIndex}: was this manager's state lost?`,
    );
    this.#committed = index;
  }

  /** Committed entries that are durable here and not applied, at most `bytesMax` (at least one). */
  entriesToApply(bytesMax: number): readonly Entry[] {
    if (this.#pendingSnapshot !== undefined) return [];
    const to = Math.min(this.#committed, this.#stable);
    return this.#range(this.#applied + 1, to, bytesMax);
  }

  get hasEntriesToApply(): boolean {
    const to = Math.min(this.#committed, this.#stable);
    return this.#pendingSnapshot === undefined && to > this.#applied;
  }

  appliedTo(index: number): void {
    invariant(
      index >= this.#applied && index <= this.#committed,
      `applied ${index} outside [${this.#applied}, ${this.#committed}]`,
    );
    this.#applied = index;
  }

  /** Entries not handed out for writing yet; counts them as handed out. */
  takeUnstable(): readonly Entry[] {
    const entries = this.#entries.slice(this.#handedOut - this.#base.index);
    this.#handedOut = this.lastIndex;
    return entries;
  }

  get hasUnstable(): boolean {
    return this.#handedOut < this.lastIndex;
  }

  /**
   * Entries up to this position are on disk. Ignored when the log was changed meanwhile: only an
   * entry of the same term is the one that was written.
   */
  stableTo(index: number, term: number): void {
    if (index > this.#stable && this.matches(index, term)) {
      this.#stable = index;
      this.#handedOut = Math.max(this.#handedOut, index);
    }
  }

  /** Replaces everything by a snapshot of the leader, which is to be made durable first. */
  restore(snapshot: Snapshot): void {
    this.#base = { index: snapshot.index, term: snapshot.term };
    this.#entries = [];
    this.#stable = snapshot.index;
    this.#handedOut = snapshot.index;
    this.#committed = snapshot.index;
    this.#pendingSnapshot = snapshot;
  }

  /** The snapshot is on disk and in the state machine. */
  snapshotInstalled(snapshot: SnapshotMeta): void {
    if (this.#pendingSnapshot?.index !== snapshot.index) return;
    this.#pendingSnapshot = undefined;
    this.#applied = snapshot.index;
  }

  /** Forgets entries up to `index`, which a snapshot covers. */
  compact(index: number): void {
    if (index <= this.#base.index) return;
    invariant(index <= this.#applied, 'only applied entries are compacted');
    const term = this.termAt(index);
    invariant(term !== undefined, 'an applied entry is in the log');
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }

  #truncateFrom(index: number): void {
    this.#entries.length = index - this.#base.index - 1;
    this.#stable = Math.min(this.#stable, index - 1);
    this.#handedOut = Math.min(this.#handedOut, index - 1);
  }

  #range(from: number, to: number, bytesMax: number): readonly Entry[] {
    const start = from - this.#base.index - 1;
    invariant(start >= 0, `entry ${from} is compacted`);
    const end = to - this.#base.index;
    let bytes = 0;
    let at = start;
    for (; at < end; at++) {
      const entry = this.#entries[at];
      if (entry === undefined) break;
      bytes += entryBytes(entry);
      if (at > start && bytes > bytesMax) break;
    }
    return this.#entries.slice(start, at);
  }
}
