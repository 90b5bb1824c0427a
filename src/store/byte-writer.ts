/** Protobuf's wire format into one growing buffer, without an object for each field or message. */

const FIRST_BYTES = 16 * 1024;
/** Longer strings are faster by the runtime's own encoder. */
const SHORT_STRING = 48;
const TWO_32 = 0x1_0000_0000;

/** Writes values one after the other; {@link take} hands out what was written. */
export class ByteWriter {
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = 0;

  /** Where the next byte goes. */
  get position(): number {
    return this.#at;
  }

  /** A copy of what was written; the writer is then empty again. */
  take(): Uint8Array {
    const bytes = new Uint8Array(this.#at);
    bytes.set(this.#buffer.subarray(0, this.#at));
    this.#at = 0;
    return bytes;
  }

  /** Forgets what was written. */
  clear(): void {
    this.#at = 0;
  }

  /** A number in [0, 2^32) as a varint. */
  varint32(value: number): void {
    this.#reserve(5);
    const buffer = this.#buffer;
    let at = this.#at;
    let rest = value;
    while (rest > 0x7f) {
      buffer[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.#at = at;
  }

  /** The lower 64 bits of a number, in two's complement, as a varint. */
  varint64(value: bigint): void {
    if (value >= 0n && value < 0x1_0000_0000n) {
      this.varint32(Number(value));
      return;
    }
    const unsigned = BigInt.asUintN(64, value);
    let low = Number(unsigned & 0xffff_ffffn);
    let high = Number(unsigned >> 32n);
    this.#reserve(10);
    const buffer = this.#buffer;
    let at = this.#at;
    while (high > 0 || low > 0x7f) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    buffer[at++] = low;
    this.#at = at;
  }

  /** An integer in [-2^31, 2^31) as protobuf's int32: negative ones take ten bytes. */
  int32(value: number): void {
    if (value >= 0) this.varint32(value);
    else this.varint64(BigInt(value));
  }

  bool(value: boolean): void {
    this.#reserve(1);
    this.#buffer[this.#at++] = value ? 1 : 0;
  }

  float32(value: number): void {
    this.#reserve(4);
    this.#at = this.#buffer.writeFloatLE(value, this.#at);
  }

  /** The bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** Bytes after their number. */
  bytes(bytes: Uint8Array): void {
    this.varint32(bytes.length);
    this.raw(bytes);
  }

  /** UTF-8 after the number of its bytes; lone surrogates become U+FFFD. */
  string(text: string): void {
    if (text.length < SHORT_STRING && this.#ascii(text)) return;
    const bytes = Buffer.byteLength(text);
    this.varint32(bytes);
    this.#reserve(bytes);
    this.#at += this.#buffer.write(text, this.#at, bytes, 'utf8');
  }

  /** Begins something whose length goes before it; returns what {@link end} wants. */
  begin(): number {
    this.#reserve(1);
    this.#at += 1;
    return this.#at;
  }

  /** Puts the length of what was written since {@link begin} before it. */
  end(from: number): void {
    const bytes = this.#at - from;
    if (bytes < 0x80) {
      this.#buffer[from - 1] = bytes;
      return;
    }
    // Room for one byte was left: most messages need no more.
    let more = 0;
    for (let rest = bytes; rest > 0x7f; rest = Math.floor(rest / 0x80)) more += 1;
    this.#reserve(more);
    this.#buffer.copyWithin(from + more, from, this.#at);
    this.#at = from - 1;
    this.varint32(bytes);
    this.#at += bytes;
  }

  /** Writes a short string of ASCII; false if there is another character in it. */
  #ascii(text: string): boolean {
    const { length } = text;
    this.#reserve(length + 1);
    const buffer = this.#buffer;
    const from = this.#at + 1;
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code > 0x7f) return false;
      buffer[from + at] = code;
    }
    buffer[from - 1] = length;
    this.#at = from + length;
    return true;
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(
      Math.min(Math.max(needed, this.#buffer.length * 2), TWO_32),
    );
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
  }
}
