/**
 * Pieces that all objects share: Meta, Annotations, times, durations, drivers, enum names.
 * Names and omission rules are those of the engine's API types (1.41).
 */
import { create } from '@bufbuild/protobuf';
import {
  type Duration,
  DurationSchema,
  type Timestamp,
  TimestampSchema,
} from '@bufbuild/protobuf/wkt';
import type { Meta } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type Annotations,
  AnnotationsSchema,
  type Driver,
  DriverSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { GoStruct } from '../http/go-struct.js';
import { type JsonOut, mapUnlessEmpty, sortedMap, unlessZero } from '../http/json-text.js';

/** Fields of a JSON object. */
export type JsonFields = Record<string, JsonOut | undefined>;

const NANOS_PER_SECOND = 1_000_000_000n;

/** RFC3339 with as many fractional digits as needed; a missing time is the epoch, as in Go's gogo types. */
export function timestampToText(timestamp: Timestamp | undefined): string {
  const seconds = Number(timestamp?.seconds ?? 0n);
  const nanos = timestamp?.nanos ?? 0;
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19);
  const fraction = nanos === 0 ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`;
  return `${whole}${fraction}Z`;
}

/** As {@link timestampToText}, always nine fractional digits, so that columns of log lines align. */
export function timestampToFixedText(timestamp: Timestamp | undefined): string {
  const seconds = Number(timestamp?.seconds ?? 0n);
  const nanos = String(timestamp?.nanos ?? 0).padStart(9, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${nanos}Z`;
}

/** True for a time that was set. */
export function isSet(timestamp: Timestamp | undefined): timestamp is Timestamp {
  return timestamp !== undefined && timestamp.seconds !== 0n;
}

/** A time of the wall clock. */
export function timestampOfMs(milliseconds: number): Timestamp {
  const whole = Math.floor(milliseconds / 1000);
  return create(TimestampSchema, {
    seconds: BigInt(whole),
    nanos: Math.round((milliseconds - whole * 1000) * 1e6),
  });
}

/** Nanoseconds of a duration; 0 when missing. */
export function durationToNanos(duration: Duration | undefined): bigint {
  if (duration === undefined) return 0n;
  return duration.seconds * NANOS_PER_SECOND + BigInt(duration.nanos);
}

/** Nanoseconds as a duration; sign of both parts equal, as protobuf wants it. */
export function durationOfNanos(nanos: bigint): Duration {
  return create(DurationSchema, {
    seconds: nanos / NANOS_PER_SECOND,
    nanos: Number(nanos % NANOS_PER_SECOND),
  });
}

/** A duration from an optional JSON number. */
export function optionalDuration(json: GoStruct, key: string): Duration | undefined {
  const nanos = json.optionalInt64(key, 'time.Duration');
  return nanos === undefined ? undefined : durationOfNanos(nanos);
}

/** `Version`, `CreatedAt`, `UpdatedAt`. */
export function metaFields(meta: Meta | undefined): JsonFields {
  return {
    Version: versionFields(meta?.version?.index),
    CreatedAt: timestampToText(meta?.createdAt),
    UpdatedAt: timestampToText(meta?.updatedAt),
  };
}

/** `{Index}`, empty for 0. */
export function versionFields(index: bigint | undefined): JsonFields {
  return { Index: unlessZero(index ?? 0n) };
}

/** `Name` and `Labels`; labels are never null. */
export function annotationFields(annotations: Annotations | undefined): JsonFields {
  return {
    Name: unlessZero(annotations?.name ?? ''),
    Labels: sortedMap(annotations?.labels ?? {}),
  };
}

/** Name and labels of a spec. */
export function annotationsFromJson(json: GoStruct): Annotations {
  return create(AnnotationsSchema, { name: json.string('Name'), labels: json.stringMap('Labels') });
}

/** A driver as JSON, or undefined. */
export function driverFields(driver: Driver | undefined): JsonFields | undefined {
  if (driver === undefined) return undefined;
  return { Name: unlessZero(driver.name), Options: mapUnlessEmpty(driver.options) };
}

/** An optional driver from JSON. */
export function driverFromJson(json: GoStruct, key: string, goType: string): Driver | undefined {
  const driver = json.optionalStruct(key, goType);
  if (driver === undefined) return undefined;
  return create(DriverSchema, {
    name: driver.string('Name'),
    options: driver.stringMap('Options'),
  });
}

/** Bytes in base64. */
export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** A numeric enum's name in lower case, the way the API writes SwarmKit's enums. */
export function enumText(names: Readonly<Record<number, string>>, value: number): string {
  return (names[value] ?? String(value)).toLowerCase();
}

/** The value of a numeric enum whose name is `text` without regard to case, if there is one. */
export function enumValue<T extends Readonly<Record<string, string | number>>>(
  names: T,
  text: string,
): Extract<T[keyof T], number> | undefined {
  const name = text.toUpperCase();
  const value = Object.hasOwn(names, name) ? names[name] : undefined;
  return typeof value === 'number' ? (value as Extract<T[keyof T], number>) : undefined;
}

/** Go's `%q` for the plain texts that appear in messages. */
export function goQuote(text: string): string {
  return JSON.stringify(text);
}
