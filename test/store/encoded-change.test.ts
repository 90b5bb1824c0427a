/**
 * Changes encoded by fields say the same as objects encoded as a whole, whichever fields are known, and
 * the object that their manager stores is the one that all others read from the entry.
 */
import { equal } from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import {
  type Service,
  ServiceSchema,
  type Task,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, TaskStatusSchema } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { encodeChange, withVersion } from '../../src/store/encoded-change.js';
import { bytesOf, decodeRequest, encodeRequest } from '../../src/store/entry-codec.js';
import { KnownFields } from '../../src/store/known-fields.js';
import type { StoreObject } from '../../src/store/tables.js';
import { type Change, versionOf } from '../../src/store/transaction.js';

/** Whose encoding takes more than 32 bits. */
const INDEX = 2n ** 40n + 11n;

/** The object that every other manager stores, which is the one its own manager stores. */
function stored<O extends StoreObject>(change: Change, base: O | undefined, known: KnownFields): O {
  const encoded = encodeChange(change, base, known);
  const [read, ...more] = decodeRequest(encodeRequest(7n, [encoded]));
  equal(more.length, 0);
  if (read === undefined || read.kind === 'remove') throw new Error('no object was decoded');
  equal(read.kind, change.kind);
  if (change.kind !== 'remove') equal(versionOf(read.object), versionOf(change.object));
  equal(encoded.bytes, bytesOf(encoded.pieces));
  const own = encoded.decode(INDEX);
  t.strictSame(own, withVersion<StoreObject>(read.object, INDEX));
  return own as O;
}

/** A task whose fields are known. */
function knownTask(known: KnownFields): Task {
  const object = create(TaskSchema, {
    id: 'task1',
    serviceId: 'service1',
    slot: 3n,
    meta: { version: { index: 9n }, createdAt: { seconds: 5n }, updatedAt: { seconds: 6n } },
    spec: { runtime: { case: 'container', value: { image: 'web', env: ['A=1', 'B=2'] } } },
    serviceAnnotations: { name: 'web', labels: { team: 'one', room: 'two' } },
    networks: ['front', 'back'].map((id) => ({ network: { id }, addresses: ['10.0.1.7/24'] })),
    status: { state: TaskState.RUNNING, message: 'started' },
  });
  return stored<Task>({ kind: 'create', table: 'task', object }, undefined, known);
}

/** Updates it, and compares with an update of which nothing is known. */
function update(base: Task, object: Task, known: KnownFields): Task {
  const change: Change = { kind: 'update', table: 'task', object };
  const made: Task = stored(change, base, known);
  t.strictSame(made, stored<Task>(change, base, new KnownFields()));
  return made;
}

void t.test('updates whose other fields are known carry the whole object', async (t) => {
  const known = new KnownFields();
  let task = knownTask(known);
  for (const message of ['first', 'second', '']) {
    const { status, spec } = task;
    if (status === undefined) throw new Error('no status');
    task = update(task, { ...task, status: { ...status, message } }, known);
    t.equal(task.status?.message, message);
    t.equal(task.spec, spec, 'what was not touched is shared');
  }
});

void t.test('what a caller does to its objects later is not in the stored one', async (t) => {
  const known = new KnownFields();
  const task = knownTask(known);
  const networks = task.networks.map((network) => ({ ...network }));
  const encoded = encodeChange(
    { kind: 'update', table: 'task', object: { ...task, networks } },
    task,
    known,
  );
  networks.pop();
  t.equal((encoded.decode(INDEX) as Task).networks.length, 2);
});

void t.test('fields that were emptied are empty, those that are gone are gone', async (t) => {
  const known = new KnownFields();
  let task = knownTask(known);
  task = update(task, { ...task, serviceId: '', slot: 0n, networks: [] }, known);
  t.strictSame([task.serviceId, task.slot, task.networks], ['', 0n, []]);
  const { status: _status, spec: _spec, ...kept } = task;
  task = update(task, kept, known);
  t.equal(task.status, undefined);
  task = update(task, { ...task, slot: 4n, status: create(TaskStatusSchema) }, known);
  t.strictSame([task.slot, task.status?.state], [4n, TaskState.NEW]);
});

void t.test('one object in two places is two fields', async (t) => {
  const known = new KnownFields();
  const spec = { annotations: { name: 'web' }, task: { runtime: { case: undefined } } } as const;
  const object = create(ServiceSchema, { id: 'service1', spec });
  let service = stored<Service>({ kind: 'create', table: 'service', object }, undefined, known);
  for (let round = 0; round < 2; round++) {
    // A rollback: what was the spec is the previous one as well.
    const turned = { ...service, ...(service.spec && { previousSpec: service.spec }) };
    service = stored<Service>({ kind: 'update', table: 'service', object: turned }, service, known);
    t.strictSame(service.previousSpec, service.spec);
  }
});

void t.test('fields of newer programs stay', async (t) => {
  const known = new KnownFields();
  const task = knownTask(known);
  const $unknown = [{ no: 1000, wireType: 0, data: new Uint8Array([5]) }];
  const newer = update(task, { ...task, $unknown }, known);
  t.strictSame(update(newer, { ...newer, slot: 9n }, known).$unknown, $unknown);
});

void t.test('removals', async (t) => {
  const known = new KnownFields();
  const change: Change = { kind: 'remove', table: 'task', id: 'task1' };
  const encoded = encodeChange(change, knownTask(known), known);
  t.strictSame(decodeRequest(encodeRequest(7n, [encoded])), [change]);
  t.equal(encoded.decode(INDEX), undefined);
});
