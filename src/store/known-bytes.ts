/**
 * Encoded parts of stored objects. An update mostly changes one part of an object, such as its status;
 * the others are encoded once and their bytes used again, for a protobuf message is the sequence of its
 * fields in any order. Parts are known by identity: what is stored came from bytes and never changes.
 */
import { create as createMessage, type DescMessage, toBinary } from '@bufbuild/protobuf';
import { KNOWN_BYTES_MAX } from './limits.js';

/** Of an object, what is encoded as a whole: a message, list, map, oneof or byte string. */
export type Part = object;

interface Known {
  readonly schema: DescMessage;
  readonly member: string;
  readonly bytes: Uint8Array;
}

/** Bytes of parts; those that nobody asked for lately are forgotten. */
export class KnownBytes {
  /** When `#recent` is full it takes the place of `#older`. */
  #recent = new WeakMap<Part, Known>();
  #older = new WeakMap<Part, Known>();
  #recentBytes = 0;

  /** The bytes that `part` takes in a message of `schema` as its field or oneof `member`. */
  of(schema: DescMessage, member: string, part: Part): Uint8Array {
    const recent = this.#recent.get(part);
    if (isOf(recent, schema, member)) return recent.bytes;
    const older = this.#older.get(part);
    if (isOf(older, schema, member)) return this.#keep(part, older);
    const message = createMessage(schema) as unknown as Record<string, unknown>;
    message[member] = part;
    const bytes = toBinary(schema, message as unknown as ReturnType<typeof createMessage>);
    return this.#keep(part, { schema, member, bytes });
  }

  #keep(part: Part, known: Known): Uint8Array {
    if (this.#recentBytes >= KNOWN_BYTES_MAX / 2) {
      this.#older = this.#recent;
      this.#recent = new WeakMap();
      this.#recentBytes = 0;
    }
    this.#recent.set(part, known);
    this.#recentBytes += known.bytes.length;
    return known.bytes;
  }
}

/** The same object may stand in two places, as a spec and as the previous one. */
function isOf(known: Known | undefined, schema: DescMessage, member: string): known is Known {
  return known?.member === member && known.schema === schema;
}
