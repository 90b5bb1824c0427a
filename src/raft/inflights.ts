/** The window of append messages sent to one follower and not yet acknowledged. */

interface InflightAppend {
  /** Index of the message's last entry. */
  readonly lastIndex: number;
  readonly bytes: number;
}

/** A window bounded in messages and bytes; a message over the byte bound still goes when empty. */
export class Inflights {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  readonly #window: InflightAppend[] = [];
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#window.length;
  }

  get isFull(): boolean {
    return this.#window.length >= this.#messagesMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    this.#window.push({ lastIndex, bytes });
    this.#bytes += bytes;
  }

  /** Forgets the messages whose entries all lie at or below `index`. */
  freeTo(index: number): void {
    let freed = 0;
    for (const append of this.#window) {
      if (append.lastIndex > index) break;
      this.#bytes -= append.bytes;
      freed += 1;
    }
    this.#window.splice(0, freed);
  }

  clear(): void {
    this.#window.length = 0;
    this.#bytes = 0;
  }
}
