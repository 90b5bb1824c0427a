/** Changes encoded by parts say the same as objects encoded as a whole, whichever parts are known. */
import { equal } from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { ServiceSchema, TaskSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { encodeChange } from '../../src/store/encoded-change.js';
import { decodeRequest, encodeRequest } from '../../src/store/entry-codec.js';
import { KnownBytes } from '../../src/store/known-bytes.js';
import type { Change } from '../../src/store/transaction.js';

/** As every other manager reads it. */
function read(change: Change, base: Parameters<typeof encodeChange>[1], known: KnownBytes): Change {
  const [decoded, ...more] = decodeRequest(encodeRequest(7n, [encodeChange(change, base, known)]));
  equal(more.length, 0);
  if (decoded === undefined) throw new Error('nothing was decoded');
  return decoded;
}

const stored = fromBinary(
  TaskSchema,
  toBinary(
    TaskSchema,
    create(TaskSchema, {
      id: 'task1',
      serviceId: 'service1',
      slot: 3n,
      meta: { version: { index: 9n } },
      spec: { runtime: { case: 'container', value: { image: 'web', env: ['A=1', 'B=2'] } } },
      serviceAnnotations: { name: 'web', labels: { team: 'one' } },
      networks: [{ network: { id: 'front' }, addresses: ['10.0.1.7/24'] }],
      status: { state: TaskState.RUNNING, message: 'started' },
    }),
  ),
);

void t.test('an update whose other parts are known carries the whole object', async (t) => {
  const known = new KnownBytes();
  const message = (text: string): Change => {
    const status = stored.status && { ...stored.status, message: text };
    return { kind: 'update', table: 'task', object: { ...stored, ...(status && { status }) } };
  };
  for (const text of ['first', 'second', '']) {
    const change = message(text);
    t.strictSame(read(change, stored, known), change);
  }
});

void t.test('parts that were emptied are empty', async (t) => {
  const known = new KnownBytes();
  const { status: _status, spec: _spec, ...kept } = stored;
  const object = { ...kept, serviceId: '', slot: 0n, networks: [] };
  const change: Change = { kind: 'update', table: 'task', object };
  read({ kind: 'update', table: 'task', object: stored }, stored, known);
  t.strictSame(read(change, stored, known), change);
});

void t.test('one object in two places is two parts', async (t) => {
  const known = new KnownBytes();
  const spec = { annotations: { name: 'web' }, task: { runtime: { case: undefined } } } as const;
  const base = create(ServiceSchema, { id: 'service1', spec });
  // A rollback: what was the spec is the previous one as well.
  if (base.spec !== undefined) base.previousSpec = base.spec;
  const change: Change = { kind: 'update', table: 'service', object: { ...base } };
  for (let round = 0; round < 2; round++) t.strictSame(read(change, base, known), change);
});

void t.test('creations and removals', async (t) => {
  const known = new KnownBytes();
  const create: Change = { kind: 'create', table: 'task', object: stored };
  t.strictSame(read(create, undefined, known), create);
  const remove: Change = { kind: 'remove', table: 'task', id: 'task1' };
  t.strictSame(read(remove, stored, known), remove);
});
