/**
 * Orders to the log's writer thread are done in the order they were given, whether they go through the
 * shared memory, find it taken, or are too large for it.
 */
import t from 'tap';
import type { Entry } from '../../../src/raft/types.js';
import { createStorage, openStorage } from '../../../src/store/wal/raft-storage.js';
import { stateDirectory, TEST_KEYS } from '../state-directory.js';

const SIZES = [100, 300_000, 0, 50, 250_000, 262_000, 262_200, 7];
const ROUNDS = 12;

void t.test('appends of all sizes, many under way', async (t) => {
  const options = { directory: stateDirectory(t), keys: TEST_KEYS };
  await createStorage(options, 5, undefined);
  const open = () =>
    openStorage(options, (error) => {
      throw error;
    });
  const storage = await open();
  const written: Entry[] = [];
  const done: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const appends = SIZES.map(async (bytes, at) => {
      const index = written.length + 1;
      const entry: Entry = { index, term: 1, kind: 'normal', data: Buffer.alloc(bytes, index) };
      written.push(entry);
      await storage.append({ entries: [entry], hardState: undefined, sync: at % 2 === 0 });
      done.push(index);
    });
    // So that some are given while none is under way.
    if (round % 3 === 0) await Promise.all(appends);
    else await appends[round % SIZES.length];
  }
  await storage.close();
  const indexes = written.map(({ index }) => index);
  t.strictSame(done, indexes, 'done in their order');
  const again = await open();
  t.strictSame(
    again.stored.entries.map(({ index }) => index),
    indexes,
  );
  for (const [at, { data }] of again.stored.entries.entries()) {
    t.ok(Buffer.from(data).equals(written[at]?.data ?? Buffer.of(0)), `entry ${at + 1}`);
  }
  await again.close();
});
