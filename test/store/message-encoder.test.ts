/** The encoder of the store against the library's: the same bytes for any object of any table. */
import {
  create,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { isWrapperDesc } from '@bufbuild/protobuf/wkt';
import * as fc from 'fast-check';
import t from 'tap';
import {
  InternalRaftRequestSchema,
  StoreSnapshotSchema,
} from '../../src/model/gen/docker/swarmkit/v1/store_pb.js';
import { encodeMessage, encoderOf, encodeWith } from '../../src/store/message-encoder.js';
import { TABLE_NAMES, descriptorOf } from '../../src/store/tables.js';

const DEPTH_MAX = 5;

/** Texts whose bytes differ in number from their characters, lone surrogates among them. */
const text = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    '',
    '\u0000',
    '\ud800',
    'a\udc00b',
    'x'.repeat(47),
    'x'.repeat(48),
    'ä'.repeat(70),
  ),
  fc.integer({ min: 120, max: 140 }).map((length) => 'y'.repeat(length)),
  fc.constantFrom('z'.repeat(16_383), 'z'.repeat(16_384), 'z'.repeat(40_000)),
);

function scalar(type: ScalarType): fc.Arbitrary<unknown> {
  switch (type) {
    case ScalarType.STRING:
      return text;
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 200 });
    case ScalarType.FLOAT:
      return fc.float();
    case ScalarType.INT32:
      return fc.oneof(fc.integer(), fc.constantFrom(0, -1, 127, 128, 2 ** 31 - 1, -(2 ** 31)));
    case ScalarType.UINT32:
      return fc.oneof(fc.nat(), fc.constantFrom(0, 127, 128, 2 ** 28, 2 ** 32 - 1));
    case ScalarType.INT64:
      return fc.oneof(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.constantFrom(0n, -1n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 35n, 2n ** 63n - 1n),
      );
    case ScalarType.UINT64:
      return fc.oneof(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.constantFrom(0n, 2n ** 32n, 2n ** 56n, 2n ** 63n, 2n ** 64n - 1n),
      );
    default:
      throw new Error(`no values of type ${type}`);
  }
}

function single(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message !== undefined) {
    if (field.fieldKind === 'message' && isWrapperDesc(field.message)) {
      return scalar(field.message.fields[0]?.scalar ?? ScalarType.BOOL);
    }
    return message(field.message, depth + 1);
  }
  if (field.enum !== undefined)
    return fc.constantFrom(...field.enum.values.map((one) => one.number));
  return scalar(field.scalar ?? ScalarType.STRING);
}

function valueOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case 'list':
      return fc.array(single(field, depth), { maxLength: depth > 2 ? 1 : 3 });
    case 'map':
      return fc.dictionary(fc.string({ maxLength: 12 }), single(field, depth), { maxKeys: 3 });
    default:
      return single(field, depth);
  }
}

/** Messages with any of the fields set. */
function message(desc: DescMessage, depth = 0): fc.Arbitrary<Message> {
  if (depth > DEPTH_MAX) return fc.constant(create(desc));
  const values = desc.fields.map((field) =>
    fc.option(valueOf(field, depth), { freq: 2, nil: undefined }),
  );
  return fc.tuple(...values).map((chosen) => {
    const init: Record<string, unknown> = {};
    desc.fields.forEach((field, at) => {
      const value = chosen[at];
      if (value === undefined) return;
      if (field.oneof === undefined) init[field.localName] = value;
      else init[field.oneof.localName] = { case: field.localName, value };
    });
    return create(desc, init as never);
  });
}

for (const table of TABLE_NAMES) {
  void t.test(`objects of table ${table} become the library's bytes`, async (t) => {
    const schema: DescMessage = descriptorOf(table).schema;
    const property = fc.property(message(schema), (object) => {
      const bytes = Buffer.from(toBinary(schema, object));
      if (!bytes.equals(encodeMessage(schema, object))) throw new Error('other bytes');
      const { members } = encoderOf(schema);
      const parts = encodeWith((writer) => {
        for (const { write } of members) write(writer, object);
      });
      if (parts.length !== bytes.length)
        throw new Error('a field belongs to no property, or to two');
    });
    t.doesNotThrow(() => fc.assert(property, { numRuns: 300, seed: 20261128 }));
  });
}

void t.test('requests and snapshots too, and what is unknown is kept', async (t) => {
  for (const schema of [InternalRaftRequestSchema, StoreSnapshotSchema]) {
    t.doesNotThrow(() => encoderOf(schema));
  }
  const schema = descriptorOf('task').schema;
  const object = create(schema, { id: 'a', spec: { networks: [{ target: 'n' }] } });
  object.$unknown = [{ no: 900, wireType: WireType.LengthDelimited, data: Uint8Array.of(2, 7, 8) }];
  if (object.spec !== undefined) {
    object.spec.$unknown = [{ no: 5000, wireType: WireType.Varint, data: Uint8Array.of(9) }];
  }
  t.same(encodeMessage(schema, object), toBinary(schema, object));
});

void t.test('what another member would read otherwise is refused', async (t) => {
  const task = descriptorOf('task').schema;
  const wrong: [DescMessage, Message][] = [
    [task, create(task, { slot: 2n ** 64n })],
    [task, create(task, { desiredState: 1.5 as never })],
    [task, create(task, { meta: { version: { index: -1n } } })],
  ];
  for (const [schema, object] of wrong) {
    t.throws(() => toBinary(schema, object));
    t.throws(() => encodeMessage(schema, object), /cannot encode field/);
  }
});
