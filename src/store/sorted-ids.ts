/**
 * A sorted set of object ids: an array with binary search. Insertion moves memory, which for the
 * tens of thousands of ids a swarm has is cheaper than any tree.
 */
export class SortedIds {
  readonly #ids: string[];

  private constructor(ids: string[]) {
    this.#ids = ids;
  }

  static empty(): SortedIds {
    return new SortedIds([]);
  }

  get size(): number {
    return this.#ids.length;
  }

  /** All ids, ascending; must not be changed by the caller. */
  get values(): readonly string[] {
    return this.#ids;
  }

  /** Adds `id`; nothing happens if it is there already. */
  add(id: string): void {
    const last = this.#ids.at(-1);
    if (last === undefined || last < id) {
      this.#ids.push(id);
      return;
    }
    const at = this.#lowerBound(id);
    if (this.#ids[at] !== id) this.#ids.splice(at, 0, id);
  }

  /** Takes `id` out; nothing happens if it is not there. */
  remove(id: string): void {
    const at = this.#lowerBound(id);
    if (this.#ids[at] === id) this.#ids.splice(at, 1);
  }

  /** The ids that begin with `prefix`, ascending. */
  withPrefix(prefix: string): readonly string[] {
    const start = this.#lowerBound(prefix);
    let end = start;
    while (this.#ids[end]?.startsWith(prefix) === true) end += 1;
    return this.#ids.slice(start, end);
  }

  /** Position of the first id that is not less than `id`. */
  #lowerBound(id: string): number {
    let low = 0;
    let high = this.#ids.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const candidate = this.#ids[middle];
      if (candidate !== undefined && candidate < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
