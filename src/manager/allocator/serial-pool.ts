/**
 * A range of numbers given out one after the other: addresses of a subnet, VXLAN identifiers,
 * ports. The next number is always looked for behind the last one, so that a freed number rests as
 * long as possible before somebody else gets it.
 */

/** Numbers `first` to `last`; others can be taken too, but are never given out by {@link next}. */
export class SerialPool {
  readonly #first: number;
  readonly #last: number;
  /** How many hold a number; more than one only in a store that was damaged. */
  readonly #holders = new Map<number, number>();
  #takenInRange = 0;
  #cursor: number;

  constructor(first: number, last: number) {
    this.#first = first;
    this.#last = last;
    this.#cursor = first;
  }

  /** Whether nobody holds `number`. */
  isFree(number: number): boolean {
    return !this.#holders.has(number);
  }

  /** Marks `number` as held (once more). */
  take(number: number): void {
    const holders = this.#holders.get(number) ?? 0;
    this.#holders.set(number, holders + 1);
    if (number < this.#first || number > this.#last) return;
    if (holders === 0) this.#takenInRange += 1;
  }

  /**
   * After a rebuild, when nobody knows any more which number was the last: goes on behind the
   * highest one in use.
   */
  resumeBehindHighest(): void {
    for (const number of this.#holders.keys()) {
      if (number >= this.#cursor && number <= this.#last) this.#cursor = number + 1;
    }
  }

  /** Gives back what {@link take} or {@link next} took. */
  release(number: number): void {
    const holders = this.#holders.get(number) ?? 0;
    if (holders > 1) {
      this.#holders.set(number, holders - 1);
    } else if (this.#holders.delete(number) && number >= this.#first && number <= this.#last) {
      this.#takenInRange -= 1;
    }
  }

  /** Takes the next free number of the range; undefined when all are held. */
  next(): number | undefined {
    if (this.#takenInRange > this.#last - this.#first) return undefined;
    let number = this.#cursor > this.#last ? this.#first : this.#cursor;
    while (this.#holders.has(number)) number = number === this.#last ? this.#first : number + 1;
    this.#cursor = number + 1;
    this.take(number);
    return number;
  }
}
