/**
 * A sorted set of object ids in runs of bounded length: a change moves at most one run in memory,
 * whatever the size of the set.
 */

/** Ids in a run before it is cut in two. */
const RUN_LENGTH_MAX = 512;

/** Sorted ids. */
export class SortedIds {
  /** Never empty runs, in order; none at all for an empty set. */
  readonly #runs: string[][] = [];
  #size = 0;

  static empty(): SortedIds {
    return new SortedIds();
  }

  get size(): number {
    return this.#size;
  }

  /** All ids, ascending; must not be changed by the caller. */
  get values(): readonly string[] {
    const [only = []] = this.#runs;
    return this.#runs.length > 1 ? this.#runs.flat() : only;
  }

  /** All ids, ascending, for callers that may stop early. The set must not change meanwhile. */
  *[Symbol.iterator](): Generator<string> {
    for (const run of this.#runs) yield* run;
  }

  /** Adds `id`; nothing happens if it is there already. */
  add(id: string): void {
    const at = this.#runFor(id);
    const run = this.#runs[at];
    if (run === undefined) {
      this.#runs.push([id]);
    } else {
      const position = lowerBound(run, id);
      if (run[position] === id) return;
      if (position === run.length) run.push(id);
      else run.splice(position, 0, id);
      if (run.length > RUN_LENGTH_MAX) this.#runs.splice(at + 1, 0, run.splice(run.length >>> 1));
    }
    this.#size += 1;
  }

  /** Takes `id` out; nothing happens if it is not there. */
  remove(id: string): void {
    const at = this.#runFor(id);
    const run = this.#runs[at];
    if (run === undefined) return;
    const position = lowerBound(run, id);
    if (run[position] !== id) return;
    run.splice(position, 1);
    if (run.length === 0) this.#runs.splice(at, 1);
    this.#size -= 1;
  }

  /** The ids that begin with `prefix`, ascending. */
  withPrefix(prefix: string): readonly string[] {
    const found: string[] = [];
    for (let at = this.#runFor(prefix); at < this.#runs.length; at += 1) {
      const run = this.#runs[at] ?? [];
      for (let position = lowerBound(run, prefix); position < run.length; position += 1) {
        const id = run[position] ?? '';
        if (!id.startsWith(prefix)) return found;
        found.push(id);
      }
    }
    return found;
  }

  /** The last run that begins at or before `id`, or the first one. */
  #runFor(id: string): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = this.#runs[middle]?.[0];
      if (first !== undefined && first <= id) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** Position of the first id that is not less than `id`. */
function lowerBound(ids: readonly string[], id: string): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const candidate = ids[middle];
    if (candidate !== undefined && candidate < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
