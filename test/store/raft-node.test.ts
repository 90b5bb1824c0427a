/** One voter on a real disk: bootstrap, leadership, restart, snapshots, failing writes. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SkepError } from '../../src/model/errors.js';
import type { MemoryStore } from '../../src/store/memory-store.js';
import { raftStateExists } from '../../src/store/raft-cluster.js';
import { service, task } from './objects.js';
import { bootstrap, openLeader, stateDirectory, TEST_KEYS } from './state-directory.js';

async function addTasks(store: MemoryStore, from: number, count: number): Promise<void> {
  const writes = Array.from({ length: count }, (_, at) => from + at);
  await Promise.all(
    writes.map((at) => store.update((tx) => tx.create('task', task(`t${at}`, 's1')))),
  );
}

void t.test('an only voter leads at once and comes back with everything', async (t) => {
  const directory = stateDirectory(t);
  t.notOk(raftStateExists(directory));
  const raftId = await bootstrap(directory);
  t.ok(raftStateExists(directory));
  const startedMs = performance.now();
  let node = await openLeader(directory);
  t.ok(performance.now() - startedMs < 5000, 'well before an election timeout');
  t.equal(node.status().id, raftId);
  t.same(node.members(), [{ raftId, nodeId: 'node1', address: '127.0.0.1:2377' }]);
  t.equal(node.leader()?.nodeId, 'node1');
  await node.store.update((tx) => tx.create('service', service('s1', 'web')));
  await addTasks(node.store, 0, 50);
  await node.readBarrier();
  const version = node.store.version();
  const { term } = node.status();
  await node.close();

  node = await openLeader(directory);
  t.equal(node.store.count('task'), 50);
  t.ok(node.store.version() > version, 'the new term has its own first entry');
  t.ok(node.status().term > term);
  t.equal(node.store.view((tx) => tx.get('service', 's1'))?.meta?.version?.index, 3n);
  await node.close();
});

void t.test('bootstrap refuses to overwrite, open refuses to invent', async (t) => {
  const directory = stateDirectory(t);
  await t.rejects(openLeader(directory), { code: 'not_found' });
  await bootstrap(directory);
  await t.rejects(bootstrap(directory), { code: 'already_exists' });
});

void t.test('a stopped node refuses writes and tells its listeners', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  const node = await openLeader(directory);
  const seen: boolean[] = [];
  node.onLeadership((isLeader) => seen.push(isLeader));
  const pending = node.store.update((tx) => tx.create('task', task('t1', 's1')));
  const settled = pending.then(
    () => 'applied',
    (error: unknown) => SkepError.from(error).code,
  );
  // The update waits for the writer lock first; let it propose.
  await Promise.resolve();
  await node.close();
  t.match(await settled, /applied|unavailable/);
  t.same(seen, [true, false]);
  await t.rejects(
    node.store.update((tx) => tx.create('task', task('t2', 's1'))),
    {
      code: 'unavailable',
    },
  );
  await t.rejects(node.readBarrier(), { code: 'unavailable' });
});

void t.test('snapshots replace the log and are restored, also with segments cut', async (t) => {
  const directory = stateDirectory(t);
  const options = { snapshotIntervalEntries: 300, segmentBytes: 16 * 1024 };
  await bootstrap(directory, options);
  let node = await openLeader(directory, options);
  // One after the other: together they would share entries.
  for (let at = 0; at < 1200; at++) await addTasks(node.store, at, 1);
  const hash = (): string => {
    const ids = node.store.view((tx) => tx.find('task', { by: 'all' }));
    return ids.map((one) => `${one.id}@${one.meta?.version?.index}`).join();
  };
  const before = hash();
  await node.close();
  const segments = readdirSync(join(directory, 'wal')).filter((name) => name.endsWith('.wal'));
  t.notOk(segments.includes('00000001.wal'), 'the first segment is gone');
  t.equal(readdirSync(join(directory, 'snap')).length, 1);
  node = await openLeader(directory, options);
  t.equal(node.store.count('task'), 1200);
  t.equal(hash(), before);
  await addTasks(node.store, 1200, 10);
  await node.close();
  node = await openLeader(directory, options);
  t.equal(node.store.count('task'), 1210);
  await node.close();
});

void t.test('the log opens with its key only, and older keys still read', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  let node = await openLeader(directory);
  await addTasks(node.store, 0, 5);
  await node.close();
  const newKey = { keyId: 2, key: new Uint8Array(32).fill(9) };
  await t.rejects(openLeader(directory, { keys: [newKey] }), {
    code: 'permission_denied',
    message: /needs data encryption key 1/,
  });
  await t.rejects(openLeader(directory, { keys: [{ ...newKey, keyId: 1 }] }), {
    code: 'permission_denied',
    message: /is not the one/,
  });
  node = await openLeader(directory, { keys: [newKey, ...TEST_KEYS] });
  await addTasks(node.store, 5, 5);
  await node.close();
  await t.rejects(openLeader(directory), { message: /needs data encryption key 2/ });
  node = await openLeader(directory, { keys: [newKey, ...TEST_KEYS] });
  t.equal(node.store.count('task'), 10);
  await node.close();
});

void t.test('the last manager cannot be removed', async (t) => {
  const directory = stateDirectory(t);
  const raftId = await bootstrap(directory);
  const node = await openLeader(directory);
  await t.rejects(node.removeMember(raftId), { code: 'failed_precondition' });
  await node.close();
});

void t.test('two processes do not share the state; a dead one leaves no lock', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  const node = await openLeader(directory);
  await t.rejects(openLeader(directory), {
    code: 'failed_precondition',
    message: new RegExp(`in use by process ${process.pid}`),
  });
  await addTasks(node.store, 0, 1);
  await node.close();
  // The id of a process that lives, with the start time of one that does not.
  writeFileSync(join(directory, 'lock'), `${process.pid} 1`);
  const again = await openLeader(directory);
  t.equal(again.store.count('task'), 1);
  await again.close();
});

void t.test('a failed write is the end: nothing is acknowledged after it', async (t) => {
  const directory = stateDirectory(t);
  const options = { segmentBytes: 16 * 1024 };
  await bootstrap(directory, options);
  const failures: Error[] = [];
  const node = await openLeader(directory, {
    ...options,
    onFatal: (error) => failures.push(error),
  });
  await addTasks(node.store, 0, 5);
  // The next segment cannot be placed where there is no directory.
  rmSync(join(directory, 'wal'), { recursive: true });
  const outcomes: string[] = [];
  for (let at = 5; at < 200 && failures.length === 0; at++) {
    await addTasks(node.store, at, 1).then(
      () => outcomes.push('applied'),
      (error: unknown) => outcomes.push(SkepError.from(error).code),
    );
  }
  t.equal(failures.length, 1, 'told once');
  t.match(failures[0]?.message, /nothing more can be acknowledged/);
  t.equal(outcomes.at(-1), 'unavailable');
  t.notOk(node.isLeader);
  await t.rejects(addTasks(node.store, 900, 1), { code: 'unavailable' });
  await node.close();
});
