/**
 * A range of numbers given out one after the other: addresses of a subnet, VXLAN identifiers,
 * ports. The next number is always looked for behind the last one, so that a freed number rests as
 * long as possible before somebody else gets it.
 */
import { addressCount, type AddressRange } from '../../model/fixed-addresses.js';

/** Numbers `first` to `last`; others can be taken too, but are never given out by {@link next}. */
export class SerialPool {
  readonly #first: number;
  readonly #last: number;
  /** Never given out by {@link next}; apart from each other, lowest first, within the range. */
  readonly #reserved: readonly AddressRange[];
  /** How many hold a number; more than one only in a store that was damaged. */
  readonly #holders = new Map<number, number>();
  /** Numbers that {@link next} chooses from. */
  readonly #size: number;
  #takenInRange = 0;
  #cursor: number;

  constructor(first: number, last: number, reserved: readonly AddressRange[] = []) {
    this.#first = first;
    this.#last = last;
    this.#cursor = first;
    this.#reserved = reserved
      .map((range) => ({ first: Math.max(range.first, first), last: Math.min(range.last, last) }))
      .filter((range) => range.first <= range.last)
      .sort((a, b) => a.first - b.first);
    this.#size = last - first + 1 - addressCount(this.#reserved);
  }

  /** Whether nobody holds `number`. */
  isFree(number: number): boolean {
    return !this.#holders.has(number);
  }

  /** Marks `number` as held (once more). */
  take(number: number): void {
    const holders = this.#holders.get(number) ?? 0;
    this.#holders.set(number, holders + 1);
    if (holders === 0 && this.#isChoice(number)) this.#takenInRange += 1;
  }

  /**
   * After a rebuild, when nobody knows any more which number was the last: goes on behind the
   * highest one in use.
   */
  resumeBehindHighest(): void {
    for (const number of this.#holders.keys()) {
      if (number >= this.#cursor && this.#isChoice(number)) this.#cursor = number + 1;
    }
  }

  /** Gives back what {@link take} or {@link next} took. */
  release(number: number): void {
    const holders = this.#holders.get(number) ?? 0;
    if (holders > 1) {
      this.#holders.set(number, holders - 1);
    } else if (this.#holders.delete(number) && this.#isChoice(number)) {
      this.#takenInRange -= 1;
    }
  }

  /** Takes the next free number of the range; undefined when all are held. */
  next(): number | undefined {
    if (this.#takenInRange >= this.#size) return undefined;
    let number = this.#cursor > this.#last ? this.#first : this.#cursor;
    for (;;) {
      const reserved = this.#reservedWith(number);
      if (reserved === undefined && !this.#holders.has(number)) break;
      const behind = (reserved?.last ?? number) + 1;
      number = behind > this.#last ? this.#first : behind;
    }
    this.#cursor = number + 1;
    this.take(number);
    return number;
  }

  #isChoice(number: number): boolean {
    if (number < this.#first || number > this.#last) return false;
    return this.#reservedWith(number) === undefined;
  }

  #reservedWith(number: number): AddressRange | undefined {
    return this.#reserved.find(({ first, last }) => number >= first && number <= last);
  }
}
