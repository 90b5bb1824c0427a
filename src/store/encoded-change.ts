/**
 * A change as it goes into a raft entry, and the same bytes by parts: what its caller did not touch of the
 * object it is based on, and the rest, from which alone the stored object is made anew.
 */
import { create as createMessage, toBinary } from '@bufbuild/protobuf';
import { type EncodedAction, encodeAction, encodeRemoval } from './entry-codec.js';
import type { KnownBytes } from './known-bytes.js';
import { descriptorOf, type StoreObject } from './tables.js';
import type { Change } from './transaction.js';

type Properties = Record<string, unknown>;

/** See the file's head. */
export interface EncodedChange extends EncodedAction {
  readonly change: Change;
  /** The object as the store has it or will have it before this change. */
  readonly base: StoreObject | undefined;
  /** Names of fields and oneofs that are the base's own. */
  readonly shared: readonly string[];
  /** The object without those of them that are no scalars; empty for removals. */
  readonly rest: Uint8Array;
}

/** @param base see {@link EncodedChange} */
export function encodeChange(
  change: Change,
  base: StoreObject | undefined,
  known: KnownBytes,
): EncodedChange {
  const { kind, table } = change;
  if (kind === 'remove') {
    const rest = new Uint8Array(0);
    return { ...encodeRemoval(table, change.id), change, base, shared: [], rest };
  }
  const { schema } = descriptorOf(table);
  const { object } = change;
  if (base === undefined) {
    const rest = toBinary(schema, object);
    return { ...encodeAction(kind, table, [rest]), change, base, shared: [], rest };
  }
  const parts: Uint8Array[] = [];
  const shared: string[] = [];
  const ours = object as unknown as Readonly<Properties>;
  const theirs = base as unknown as Readonly<Properties>;
  const empty = createMessage(schema) as unknown as Readonly<Properties>;
  const changed = { ...object } as unknown as Properties;
  for (const { localName: name } of schema.members) {
    const part = ours[name];
    // Applying an entry writes the version into its own object's.
    if (name === 'meta' || part === undefined || part !== theirs[name]) continue;
    shared.push(name);
    if (typeof part !== 'object' || part === null) continue;
    parts.push(known.of(schema, name, part));
    changed[name] = empty[name];
  }
  const rest = toBinary(schema, changed as unknown as StoreObject);
  return { ...encodeAction(kind, table, [...parts, rest]), change, base, shared, rest };
}
