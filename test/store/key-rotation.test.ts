/** The key of the log changes while the log is written: nothing is lost, nothing old stays. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { RaftNode } from '../../src/store/raft-node.js';
import { openStorage } from '../../src/store/wal/raft-storage.js';
import { type DataKey, RecordCipher, parseHeader } from '../../src/store/wal/record.js';
import { task } from './objects.js';
import { bootstrap, openLeader, stateDirectory, TEST_KEYS } from './state-directory.js';

const [FIRST] = TEST_KEYS as [DataKey];
const SECOND: DataKey = { keyId: 2, key: new Uint8Array(32).fill(6) };
const THIRD: DataKey = { keyId: 3, key: new Uint8Array(32).fill(7) };

async function write(node: RaftNode, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at++)
    await node.store.update((change) => change.create('task', task(`task${at}`, 'service1')));
}

function count(node: RaftNode): number {
  return node.store.view((read) => read.find('task', { by: 'all' })).length;
}

/** Ids of the keys that records of this log and its snapshots name. */
function keyIds(directory: string): number[] {
  const ids = new Set<number>();
  for (const [folder, isSegment] of [
    ['wal', true],
    ['snap', false],
  ] as const) {
    for (const name of readdirSync(join(directory, folder))) {
      const file = readFileSync(join(directory, folder, name));
      const sequence = isSegment ? Number.parseInt(name, 16) : 0;
      for (let offset = 0; offset < file.length; offset += 32) {
        const header = parseHeader(file, { sequence, offset });
        if (header !== undefined) ids.add(header.keyId);
      }
    }
  }
  return [...ids].sort((a, b) => a - b);
}

void t.test('after a change only the new key is needed, and only it is on disk', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  const node = await openLeader(directory, { segmentBytes: 64 * 1024 });
  await write(node, 0, 50);
  t.same(keyIds(directory), [1]);
  // Writers go on meanwhile.
  await Promise.all([write(node, 50, 150), node.rotateDataKey(SECOND)]);
  t.same(keyIds(directory), [2]);
  await write(node, 150, 200);
  await node.close();
  await t.rejects(openLeader(directory), { code: 'permission_denied' });
  const again = await openLeader(directory, { keys: [SECOND] });
  t.equal(count(again), 200);
  // An idle log: the snapshot is written once more at the same place.
  await again.rotateDataKey(THIRD);
  await again.rotateDataKey(FIRST);
  t.same(keyIds(directory), [1]);
  await write(again, 200, 210);
  await again.close();
  const last = await openLeader(directory);
  t.equal(count(last), 210);
  await last.close();
});

void t.test('entries that come while the snapshot is written follow it', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  let keys = [FIRST];
  for (let round = 0; round < 24; round++) {
    const node = await openLeader(directory, { keys, segmentBytes: 64 * 1024 });
    t.equal(count(node), round);
    const next = { keyId: round + 2, key: new Uint8Array(32).fill(round) };
    const rotating = node.rotateDataKey(next);
    await new Promise((resolve) => setTimeout(resolve, round % 8));
    await write(node, round, round + 1);
    await rotating;
    await node.close();
    t.same(keyIds(directory), [next.keyId]);
    keys = [next];
  }
});

void t.test(
  'a change that a crash interrupted: both keys read the log, and it is done again',
  async (t) => {
    const directory = stateDirectory(t);
    await bootstrap(directory);
    const node = await openLeader(directory);
    await write(node, 0, 20);
    await node.close();
    // As far as the writer's new segment, and not to the snapshot.
    const failures: unknown[] = [];
    const options = { directory, keys: [SECOND, FIRST] };
    const storage = await openStorage(options, (error) => failures.push(error));
    await storage.useKey(SECOND);
    await storage.close();
    t.same(failures, []);
    t.same(keyIds(directory), [1, 2]);
    await t.rejects(openLeader(directory, { keys: [SECOND] }), { code: 'permission_denied' });
    const again = await openLeader(directory, { keys: [SECOND, FIRST] });
    t.equal(count(again), 20);
    await again.rotateDataKey(SECOND);
    t.same(keyIds(directory), [2]);
    await again.close();
    const last = await openLeader(directory, { keys: [SECOND] });
    t.equal(count(last), 20);
    await last.close();
  },
);

void t.test('a node that stops ends a change that waits', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  const node = await openLeader(directory);
  const change = node.rotateDataKey(SECOND);
  const closing = node.close();
  // Either was first; a change that is not done must say so.
  const outcome = await change.then(
    () => 'done',
    (error: unknown) => (error as { code?: string }).code,
  );
  await closing;
  t.ok(outcome === 'done' || outcome === 'unavailable' || outcome === 'data_loss', String(outcome));
  const again = await openLeader(directory, { keys: [SECOND, FIRST] });
  await again.close();
});

void t.test('a cipher reads what older keys wrote', async (t) => {
  const cipher = new RecordCipher([FIRST]);
  const place = { sequence: 1, offset: 0 };
  const plain = Buffer.from('x');
  const first = cipher.seal({ type: 'entry', plain }, place, 0);
  cipher.use(SECOND);
  const second = cipher.seal({ type: 'entry', plain }, place, 0);
  for (const [sealed, keyId] of [
    [first, 1],
    [second, 2],
  ] as const) {
    const header = parseHeader(sealed, place);
    t.equal(header?.keyId, keyId);
    if (header !== undefined) t.same(cipher.open(sealed, 0, header).plain, plain);
  }
});
