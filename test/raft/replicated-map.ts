/**
 * The state machine of simulated members: a map that clients write to, and a hash over all that was
 * ever applied. Requests are short texts, so that messages of a few bytes hold several.
 */
import { createHash } from 'node:crypto';
import type { Entry } from '../../src/raft/types.js';
import type { Value } from '../support/linearizability.js';

/** What a client asks for in an entry; without `expected` the value is set whatever there was. */
export interface Update {
  readonly key: string;
  readonly value: string;
  /** Undefined inside: the key must be empty. */
  readonly expected?: { readonly value: Value };
}

/** The bytes of an update, `padding` bytes longer than they must be. */
export function encodeUpdate({ key, value, expected }: Update, padding: number): Uint8Array {
  const asked = expected === undefined ? '*' : (expected.value ?? '-');
  return Buffer.from(`${key} ${value} ${asked} ${'x'.repeat(padding)}`);
}

function decodeUpdate(data: Uint8Array): Update {
  const [key = '', value = '', asked = ''] = Buffer.from(data).toString().split(' ');
  if (asked === '*') return { key, value };
  return { key, value, expected: { value: asked === '-' ? undefined : asked } };
}

/** See the file's head. */
export class ReplicatedMap {
  readonly #values: Map<string, string>;
  #hash: string;

  /** From the bytes of a snapshot, none for the state before the first entry. */
  constructor(snapshot: Uint8Array = new Uint8Array(0)) {
    const text = Buffer.from(snapshot).toString();
    const [hash, values] =
      text === '' ? ['', []] : (JSON.parse(text) as [string, [string, string][]]);
    this.#hash = hash;
    this.#values = new Map(values);
  }

  /** Differs where anything in the history of two maps differs. */
  get hash(): string {
    return this.#hash;
  }

  get(key: string): Value {
    return this.#values.get(key);
  }

  snapshot(): Uint8Array {
    return Buffer.from(JSON.stringify([this.#hash, [...this.#values]]));
  }

  /** Applies an entry; false when its update found another value than it expected. */
  apply(entry: Entry): boolean {
    this.#hash = createHash('sha1')
      .update(`${this.#hash}|${entry.term}|${entry.kind}|`)
      .update(entry.data)
      .digest('hex');
    if (entry.kind !== 'normal' || entry.data.length === 0) return true;
    const { key, value, expected } = decodeUpdate(entry.data);
    if (expected !== undefined && expected.value !== this.get(key)) return false;
    this.#values.set(key, value);
    return true;
  }
}
