/** The rules of the replicated store: SwarmKit's MemoryStore as callers see it. */
import { clone, create } from '@bufbuild/protobuf';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import t from 'tap';
import { SkepError } from '../../src/model/errors.js';
import {
  NodeSchema,
  ServiceSchema,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeRole, TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { encodeSnapshot } from '../../src/store/store-snapshot.js';
import { createLocalStore } from '../../src/store/memory-store.js';
import type { StoreEvent } from '../../src/store/types.js';
import { SIMULATION_EPOCH_MS, simulatedEnvironment } from '../support/simulated-environment.js';
import { network, secret, service, task } from './objects.js';

function newStore() {
  const environment = simulatedEnvironment(1);
  return { environment, ...createLocalStore(environment, { freezeObjects: true }) };
}

/** The code and text of what `promise` rejects with. */
async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'none';
  } catch (error) {
    const failed = SkepError.from(error);
    return `${failed.code}: ${failed.message}`;
  }
}

void t.test('create gives version and times; update keeps created_at', async (t) => {
  const { store, environment } = newStore();
  await store.update((tx) => tx.create('service', service('s1', 'web')));
  const created = store.view((tx) => tx.get('service', 's1'));
  t.equal(created?.meta?.version?.index, 1n);
  t.equal(store.version(), 1n);
  environment.clock.advance(5000);
  await store.update((tx) => {
    const stored = tx.get('service', 's1');
    if (stored === undefined) throw new Error('missing');
    const copy = clone(ServiceSchema, stored);
    copy.pendingDelete = true;
    tx.update('service', copy);
  });
  const updated = store.view((tx) => tx.get('service', 's1'));
  t.equal(updated?.meta?.version?.index, 2n);
  t.equal(updated?.pendingDelete, true);
  const { createdAt, updatedAt } = updated?.meta ?? {};
  t.equal(createdAt && timestampMs(createdAt), SIMULATION_EPOCH_MS);
  t.equal(updatedAt && timestampMs(updatedAt), SIMULATION_EPOCH_MS + 5000);
  t.equal(created?.pendingDelete, false, 'the older object is untouched');
});

void t.test('refusals carry the texts of SwarmKit and change nothing', async (t) => {
  const { store } = newStore();
  await store.update((tx) => tx.create('service', service('s1', 'web')));
  const stale = store.view((tx) => tx.get('service', 's1'));
  if (stale === undefined) throw new Error('missing');
  await store.update((tx) => tx.update('service', stale));
  const before = store.stateHash();
  const cases: [string, Promise<unknown>][] = [
    [
      'already_exists: object already exists',
      store.update((tx) => tx.create('service', service('s1', 'other'))),
    ],
    [
      'already_exists: name conflicts with an existing object',
      store.update((tx) => tx.create('service', service('s2', 'WEB'))),
    ],
    [
      'not_found: object does not exist',
      store.update((tx) => tx.update('service', service('s9', 'x'))),
    ],
    ['not_found: object does not exist', store.update((tx) => tx.delete('service', 's9'))],
    ['unknown: update out of sequence', store.update((tx) => tx.update('service', stale))],
    [
      "invalid_argument: raft: raft message is too large and can't be sent",
      store.update((tx) => tx.create('secret', secret('k', 'k', 1_600_000))),
    ],
  ];
  for (const [expected, promise] of cases) t.equal(await failure(promise), expected);
  t.equal(store.stateHash(), before);
});

void t.test('a throwing write is rolled back and lets the next one in', async (t) => {
  const { store } = newStore();
  const promise = store.update((tx) => {
    tx.create('service', service('s1', 'web'));
    throw new SkepError('failed_precondition', 'no');
  });
  t.equal(await failure(promise), 'failed_precondition: no');
  t.equal(store.count('service'), 0);
  await store.update((tx) => tx.create('service', service('s2', 'web')));
  t.equal(store.count('service'), 1);
});

void t.test('without changes nothing is proposed, also without a leader', async (t) => {
  const { store, proposer } = newStore();
  proposer.available = false;
  t.equal(await store.update((tx) => tx.find('task', { by: 'all' }).length), 0);
  t.match(
    await failure(store.update((tx) => tx.create('task', task('t1', 's1')))),
    'unavailable: raft: failed to process the request: node lost leader status',
  );
  t.equal(store.version(), 0n);
});

void t.test('a transaction sees its own changes in every selector', async (t) => {
  const { store } = newStore();
  await store.update((tx) => tx.create('task', task('t1', 's1', { slot: 1n })));
  await store.update((tx) => {
    const stored = tx.get('task', 't1');
    if (stored === undefined) throw new Error('missing');
    const moved = clone(TaskSchema, stored);
    moved.nodeId = 'n1';
    moved.desiredState = TaskState.RUNNING;
    tx.update('task', moved);
    tx.create('task', task('t0', 's1', { slot: 2n }));
    const ids = (found: readonly { id: string }[]): string[] => found.map((one) => one.id);
    t.same(ids(tx.find('task', { by: 'all' })), ['t0', 't1']);
    t.same(ids(tx.find('task', { by: 'node', nodeId: 'n1' })), ['t1']);
    t.same(ids(tx.find('task', { by: 'slot', serviceId: 's1', slot: 2n })), ['t0']);
    t.same(ids(tx.find('task', { by: 'desiredState', state: TaskState.RUNNING })), ['t1']);
    tx.update('task', { ...moved, nodeId: 'n2' });
    tx.delete('task', 't0');
    t.same(ids(tx.find('task', { by: 'node', nodeId: 'n1' })), []);
    t.same(ids(tx.find('task', { by: 'service', serviceId: 's1' })), ['t1']);
    t.equal(tx.get('task', 't0'), undefined);
  });
  t.equal(store.view((tx) => tx.get('task', 't1'))?.nodeId, 'n2');
  t.equal(store.count('task'), 1);
});

void t.test('a name can be freed and taken again within one transaction', async (t) => {
  const { store } = newStore();
  await store.update((tx) => tx.create('network', network('a', 'front')));
  await store.update((tx) => {
    tx.delete('network', 'a');
    tx.create('network', network('b', 'Front'));
    tx.create('network', network('a', 'back'));
  });
  const named = (name: string) => store.view((tx) => tx.find('network', { by: 'name', name }));
  t.same(
    named('FRONT').map((one) => one.id),
    ['b'],
  );
  t.same(
    named('back').map((one) => one.id),
    ['a'],
  );
});

void t.test('selectors: names, prefixes, references, roles', async (t) => {
  const { store } = newStore();
  await store.update((tx) => {
    tx.create('service', service('sa', 'Web-One', ['net1']));
    tx.create('service', service('sb', 'web-two', ['net1', 'net2']));
    tx.create('service', service('tc', 'db'));
    tx.create(
      'task',
      task('t1', 'sa', {
        slot: 3n,
        serviceAnnotations: { name: 'web-one' },
        status: { state: TaskState.FAILED },
        networks: [{ network: { id: 'net1' } }],
        spec: {
          runtime: {
            case: 'container',
            value: { secrets: [{ secretId: 'k1' }], configs: [{ configId: 'c1' }] },
          },
        },
      }),
    );
    tx.create(
      'node',
      create(NodeSchema, { id: 'n1', role: NodeRole.MANAGER, description: { hostname: 'H1' } }),
    );
    tx.create('node', create(NodeSchema, { id: 'n2', description: { hostname: 'h1' } }));
  });
  store.view((tx) => {
    const ids = (found: readonly { id: string }[]): string => found.map((one) => one.id).join();
    t.equal(ids(tx.find('service', { by: 'name', name: 'WEB-one' })), 'sa');
    t.equal(ids(tx.find('service', { by: 'namePrefix', prefix: 'WEB' })), 'sa,sb');
    t.equal(ids(tx.find('service', { by: 'idPrefix', prefix: 's' })), 'sa,sb');
    t.equal(ids(tx.find('service', { by: 'idPrefix', prefix: '' })), 'sa,sb,tc');
    t.equal(ids(tx.find('service', { by: 'referencedNetwork', networkId: 'net1' })), 'sa,sb');
    t.equal(ids(tx.find('service', { by: 'referencedNetwork', networkId: 'net2' })), 'sb');
    t.equal(ids(tx.find('task', { by: 'referencedNetwork', networkId: 'net1' })), 't1');
    t.equal(ids(tx.find('task', { by: 'referencedSecret', secretId: 'k1' })), 't1');
    t.equal(ids(tx.find('task', { by: 'referencedConfig', configId: 'c1' })), 't1');
    t.equal(ids(tx.find('task', { by: 'taskState', state: TaskState.FAILED })), 't1');
    t.equal(ids(tx.find('task', { by: 'name', name: 'web-one.3.t1' })), 't1');
    t.equal(ids(tx.find('node', { by: 'role', role: NodeRole.MANAGER })), 'n1');
    t.equal(ids(tx.find('node', { by: 'name', name: 'h1' })), 'n1,n2');
    t.equal(ids(tx.find('network', { by: 'service', serviceId: 'sa' })), '');
  });
});

void t.test(
  'a batch splits at 200 changes, skips throwing groups, reruns what does not fit',
  async (t) => {
    const { store, proposer } = newStore();
    const sizes: number[] = [];
    proposer.onEntry = () => sizes.push(store.count('task'));
    const writes = Array.from(
      { length: 450 },
      (_, index) => (tx: Parameters<Parameters<typeof store.update>[0]>[0]) => {
        tx.create('task', task(`t${String(index).padStart(4, '0')}a`, 's1'));
        if (index === 7) throw new SkepError('aborted', 'seven');
        tx.create('task', task(`t${String(index).padStart(4, '0')}b`, 's1'));
      },
    );
    const outcomes = await store.batch(writes);
    t.same(sizes, [0, 200, 400, 600, 800]);
    t.equal(store.count('task'), 898);
    t.equal(outcomes.length, 450);
    t.same(
      outcomes
        .map((error, index) => (error === undefined ? '' : `${index} ${error.message}`))
        .filter(Boolean),
      ['7 seven'],
    );
  },
);

void t.test('a batch stays below the size of a transaction', async (t) => {
  const { store } = newStore();
  const writes = Array.from(
    { length: 9 },
    (_, index) => (tx: Parameters<Parameters<typeof store.update>[0]>[0]) => {
      tx.create('secret', secret(`k${index}`, `k${index}`, index === 4 ? 1_600_000 : 400_000));
    },
  );
  const outcomes = await store.batch(writes);
  t.equal(store.count('secret'), 8);
  t.equal(store.version(), 3n, 'three of 400 kB fit into one entry');
  t.match(outcomes[4]?.message, 'too large');
  t.equal(outcomes.filter((one) => one !== undefined).length, 1);
});

void t.test('a batch ends with the leadership', async (t) => {
  const { store, proposer } = newStore();
  proposer.onEntry = () => {
    proposer.available = false;
  };
  const outcomes = await store.batch(
    Array.from(
      { length: 500 },
      (_, index) => (tx: Parameters<Parameters<typeof store.update>[0]>[0]) => {
        tx.create('task', task(`t${index}`, 's1'));
      },
    ),
  );
  t.equal(store.count('task'), 200);
  t.equal(
    outcomes.filter((error) => (error as SkepError | undefined)?.code === 'unavailable').length,
    300,
  );
});

void t.test(
  'subscribers get each entry once, in order, from the moment they subscribe',
  async (t) => {
    const { store } = newStore();
    await store.update((tx) => tx.create('service', service('s1', 'web')));
    const seen: string[] = [];
    const { result, unsubscribe } = store.viewAndSubscribe(
      (tx) => tx.find('service', { by: 'all' }).length,
      (events, version) => {
        seen.push(
          `${version}:${events.map((e) => `${e.kind} ${e.table} ${e.object.id}`).join('|')}`,
        );
      },
    );
    t.equal(result, 1);
    await store.update((tx) => {
      const stored = tx.get('service', 's1');
      if (stored !== undefined) tx.update('service', stored);
      tx.create('task', task('t1', 's1'));
    });
    await store.update((tx) => tx.delete('task', 't1'));
    unsubscribe();
    await store.update((tx) => tx.delete('service', 's1'));
    t.same(seen, ['2:update service s1|create task t1', '3:remove task t1']);
  },
);

void t.test('one failing listener does not keep changes from the others', async (t) => {
  const { store } = newStore();
  let heard = 0;
  store.subscribe(() => {
    throw new Error('bad listener');
  });
  store.subscribe(() => {
    heard += 1;
  });
  const update = store.update((tx) => tx.create('task', task('t1', 's1')));
  t.match(await failure(update), 'a store listener failed');
  t.equal(heard, 1);
  t.equal(store.count('task'), 1);
});

void t.test('a snapshot restores the same state; subscribers see the difference', async (t) => {
  const first = newStore();
  const other = newStore();
  for (const { store } of [first, other]) {
    await store.update((tx) => {
      tx.create('service', service('kept', 'kept'));
      tx.create('service', service('gone', 'gone'));
      tx.create('service', service('changed', 'changed'));
    });
  }
  await first.store.update((tx) => {
    tx.delete('service', 'gone');
    const changed = tx.get('service', 'changed');
    if (changed !== undefined) tx.update('service', { ...changed, pendingDelete: true });
    tx.create('network', network('new', 'new'));
  });
  const bytes = await encodeSnapshot(first.store.capture());
  const events: StoreEvent[] = [];
  other.store.subscribe((changes) => events.push(...changes));
  other.store.restore(bytes, first.store.version());
  t.equal(other.store.stateHash(), first.store.stateHash());
  t.same(
    events.map((event) => `${event.kind} ${event.object.id}`),
    ['remove gone', 'update changed', 'create new'],
  );
  t.throws(() => other.store.restore(Uint8Array.of(0xff, 0xff), 9n), { code: 'data_loss' });
});

void t.test('an entry made on another state is refused as a whole, everywhere alike', async (t) => {
  const leader = newStore();
  const follower = newStore();
  const entries: Uint8Array[] = [];
  leader.proposer.onEntry = (_, request) => entries.push(request);
  await leader.store.update((tx) => tx.create('service', service('s1', 'web')));
  const stored = leader.store.view((tx) => tx.get('service', 's1'));
  if (stored === undefined) throw new Error('missing');
  await leader.store.update((tx) => {
    tx.create('network', network('n', 'n'));
    tx.update('service', stored);
  });
  const [first, second] = entries;
  if (first === undefined || second === undefined) throw new Error('two entries expected');
  t.equal(follower.store.applyEntry(1n, first), undefined);
  t.equal(follower.store.applyEntry(2n, second), undefined);
  t.equal(follower.store.stateHash(), leader.store.stateHash());
  t.match(follower.store.applyEntry(3n, second)?.message, 'object already exists');
  t.match(leader.store.applyEntry(3n, second)?.message, 'object already exists');
  t.equal(follower.store.stateHash(), leader.store.stateHash());
  t.throws(() => follower.store.applyEntry(3n, second), /applied after/);
});

void t.test('an object changed in place is caught when stored objects are frozen', async (t) => {
  const { store } = newStore();
  const mine = service('s1', 'web');
  await store.update((tx) => tx.create('service', mine));
  mine.pendingDelete = true;
  t.equal(store.view((tx) => tx.get('service', 's1'))?.pendingDelete, false);
  const stored = store.view((tx) => tx.get('service', 's1'));
  t.throws(() => {
    if (stored !== undefined) stored.pendingDelete = true;
  }, TypeError);
});

void t.test('a write transaction cannot be used after its callback', async (t) => {
  const { store } = newStore();
  const kept = await store.update((tx) => tx);
  t.throws(() => kept.create('task', task('t1', 's1')), /only within its callback/);
});
