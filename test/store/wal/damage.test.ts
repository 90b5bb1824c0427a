/** What the log makes of torn writes, damage, and a full disk. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { SkepError } from '../../../src/model/errors.js';
import { readLog } from '../../../src/store/wal/log-reader.js';
import { encodeEntry } from '../../../src/store/wal/log-records.js';
import { createStorage } from '../../../src/store/wal/raft-storage.js';
import {
  framedBytes,
  parseHeader,
  RECORD_ALIGNMENT,
  RecordCipher,
} from '../../../src/store/wal/record.js';
import { SegmentWriter } from '../../../src/store/wal/segment-writer.js';
import { task } from '../objects.js';
import { bootstrap, openLeader, stateDirectory, TEST_KEYS } from '../state-directory.js';

interface Place {
  readonly offset: number;
  readonly bytes: number;
}

/** Where the records of a segment are. */
function recordsOf(file: Buffer, sequence: number): Place[] {
  const places: Place[] = [];
  let offset = 0;
  for (;;) {
    const header = parseHeader(file, { sequence, offset });
    if (header === undefined) return places;
    const bytes = framedBytes(header.bodyBytes);
    places.push({ offset, bytes });
    offset += bytes;
  }
}

/** A closed cluster with `count` acknowledged tasks in one segment. */
async function prepared(t: Parameters<typeof stateDirectory>[0], count = 12) {
  const directory = stateDirectory(t);
  const options = { segmentBytes: 64 * 1024 };
  await bootstrap(directory, options);
  const node = await openLeader(directory, options);
  for (let at = 0; at < count; at++) {
    const spec = { logDriver: { name: 'y'.repeat(700) } };
    await node.store.update((tx) => tx.create('task', task(`t${at}`, 's1', { spec })));
  }
  await node.close();
  const path = join(directory, 'wal', '00000001.wal');
  const file = readFileSync(path);
  return { directory, options, path, file, records: recordsOf(file, 1) };
}

/** Tasks found after opening, or the code and text of the refusal. */
async function reopen(directory: string): Promise<number | string> {
  try {
    const node = await openLeader(directory);
    const count = node.store.count('task');
    await node.close();
    return count;
  } catch (error) {
    const { code, message } = SkepError.from(error);
    return `${code}: ${message}`;
  }
}

void t.test(
  'a bit flipped anywhere in an acknowledged record is refused with advice',
  async (t) => {
    const { directory, path, file, records } = await prepared(t);
    // The last records are the hard states that follow each entry.
    for (const which of [0, 1, Math.floor(records.length / 2), records.length - 1]) {
      const record = records[which];
      if (record === undefined) throw new Error('record missing');
      for (const at of [0, 5, 20, 33, record.bytes - 1]) {
        const damaged = Buffer.from(file);
        const offset = record.offset + at;
        damaged[offset] = (damaged[offset] ?? 0) ^ 0x10;
        writeFileSync(path, damaged);
        const outcome = await reopen(directory);
        t.match(
          outcome,
          /^data_loss: raft log: 00000001.wal is damaged: .*join again$/,
          `${which}+${at}`,
        );
      }
    }
    writeFileSync(path, file);
    t.equal(await reopen(directory), 12);
  },
);

void t.test('a write torn at the end is cut off and can be written over', async (t) => {
  const { directory, path, file, records } = await prepared(t);
  // As a crash leaves it that tears an entry of several sectors: some sectors are still zero.
  const torn = records.findLast((record) => record.bytes > 700);
  if (torn === undefined) throw new Error('record missing');
  const end = file.length;
  for (const keep of ['first', 'last', 'none'] as const) {
    const damaged = Buffer.from(file);
    const sector = (Math.floor(torn.offset / 512) + 1) * 512;
    damaged.fill(0, torn.offset + torn.bytes, end);
    if (keep === 'first') damaged.fill(0, sector, end);
    if (keep === 'last') damaged.fill(0, sector, sector + 512);
    if (keep === 'none') damaged.fill(0, torn.offset, end);
    writeFileSync(path, damaged);
    t.equal(await reopen(directory), 11, keep);
    const node = await openLeader(directory);
    await node.store.update((tx) => tx.create('task', task('new', 's1')));
    await node.close();
    t.equal(await reopen(directory), 12, keep);
  }
});

void t.test('zeros in the middle are damage: later records bear witness', async (t) => {
  const { directory, path, file, records } = await prepared(t);
  const record = records.find((one) => one.bytes > 700);
  if (record === undefined) throw new Error('record missing');
  for (const [from, to] of [
    [record.offset, record.offset + record.bytes],
    [(Math.floor(record.offset / 512) + 1) * 512, (Math.floor(record.offset / 512) + 2) * 512],
  ] as const) {
    const damaged = Buffer.from(file);
    damaged.fill(0, from, to);
    writeFileSync(path, damaged);
    t.match(await reopen(directory), /data_loss: .*is lost, the one at \d+ is there/);
  }
});

void t.test('records cannot be moved or replayed elsewhere', async (t) => {
  const { directory, path, file, records } = await prepared(t);
  const [first, second] = records.filter((one) => one.bytes > 700);
  if (first === undefined || second?.bytes !== first.bytes) throw new Error('records differ');
  const damaged = Buffer.from(file);
  file.copy(damaged, first.offset, second.offset, second.offset + second.bytes);
  writeFileSync(path, damaged);
  t.match(await reopen(directory), /data_loss: .*no valid record/);
});

void t.test('missing segments and snapshots are refused', async (t) => {
  const directory = stateDirectory(t);
  const options = { segmentBytes: 16 * 1024, snapshotIntervalEntries: 60 };
  await bootstrap(directory, options);
  const node = await openLeader(directory, options);
  for (let at = 0; at < 100; at++) {
    const spec = { logDriver: { name: 'y'.repeat(500) } };
    await node.store.update((tx) => tx.create('task', task(`t${at}`, 's1', { spec })));
  }
  await node.close();
  const wal = join(directory, 'wal');
  const names = readdirSync(wal).filter((name) => name.endsWith('.wal'));
  t.ok(names.length >= 3, `${names.length} segments`);
  const middle = join(wal, names[1] ?? '');
  const kept = readFileSync(middle);
  rmSync(middle);
  t.match(await reopen(directory), /data_loss: .*segment 00000002.wal is missing/);
  writeFileSync(middle, kept.subarray(0, 4096));
  t.match(await reopen(directory), /data_loss: .*00000002.wal is damaged/);
  writeFileSync(middle, kept);
  const [snapshot] = readdirSync(join(directory, 'snap'));
  if (snapshot === undefined) throw new Error('snapshot missing');
  const snapshotPath = join(directory, 'snap', snapshot);
  const bytes = readFileSync(snapshotPath);
  bytes[200] = (bytes[200] ?? 0) ^ 1;
  writeFileSync(snapshotPath, bytes);
  t.match(await reopen(directory), /data_loss: .*snap is damaged: checksum mismatch/);
  rmSync(snapshotPath);
  t.match(await reopen(directory), /data_loss: .*snap is damaged: it cannot be read/);
});

void t.test('a segment that was placed and not begun is no harm', async (t) => {
  const directory = stateDirectory(t);
  await createStorage({ directory, keys: TEST_KEYS, segmentBytes: 4096 }, 9, undefined);
  const cipher = new RecordCipher(TEST_KEYS);
  const wal = join(directory, 'wal');
  const found = await readLog(directory, cipher);
  const writer = new SegmentWriter({ ...found, directory: wal, cipher, segmentBytes: 4096 });
  const data = new Uint8Array(100);
  for (let index = 1; index <= 60; index++) {
    const plain = encodeEntry({ index, term: 1, kind: 'normal', data });
    writer.append([{ type: 'entry', plain }], true);
  }
  writer.close();
  const last =
    readdirSync(wal)
      .filter((name) => name.endsWith('.wal'))
      .at(-1) ?? '';
  const before = (await readLog(directory, cipher)).entries.length;
  t.equal(before, 60);
  writeFileSync(join(wal, last), Buffer.alloc(4096));
  const { entries, position } = await readLog(directory, cipher);
  t.ok(entries.length > 40 && entries.length < 60);
  t.equal(position.endOffset, undefined, 'the log goes on in a new segment');
  t.notOk(readdirSync(wal).includes(last));
});

void t.test('what is on disk does not show what it says', async (t) => {
  const { file } = await prepared(t);
  t.equal(file.indexOf('y'.repeat(50)), -1);
  t.equal(file.indexOf('t11'), -1);
});

void t.test('a record is bound to its place and key', async (t) => {
  const cipher = new RecordCipher(TEST_KEYS);
  const plain = Buffer.from('content');
  const framed = cipher.seal({ type: 'entry', plain }, { sequence: 3, offset: 0 }, 7);
  t.equal(framed.length % RECORD_ALIGNMENT, 0);
  const header = parseHeader(framed, { sequence: 3, offset: 0 });
  t.equal(header?.durableOffset, 7);
  t.equal(parseHeader(framed, { sequence: 4, offset: 0 }), undefined);
  if (header === undefined) throw new Error('header missing');
  t.equal(cipher.open(framed, 0, header).plain.toString(), 'content');
  framed[12] = 8;
  t.throws(() => cipher.open(framed, 0, header), { code: 'permission_denied' });
});

void t.test(
  'a full disk: proposals are refused, then taken again when there is room',
  async (t) => {
    const directory = stateDirectory(t);
    const mount = join(directory, '..', 'small');
    execFileSync('mkdir', [mount]);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=320k', 'tmpfs', mount], { stdio: 'pipe' });
    } catch {
      t.comment('no right to mount a tmpfs');
      return;
    }
    t.teardown(() => execFileSync('umount', ['-l', mount]));
    const options = { directory: join(mount, 'raft'), segmentBytes: 64 * 1024, tickIntervalMs: 20 };
    await bootstrap(options.directory, options);
    let node = await openLeader(options.directory, options);
    const spec = { logDriver: { name: 'z'.repeat(3000) } };
    let created = 0;
    let refusal = '';
    while (refusal === '' && created < 500) {
      try {
        await node.store.update((tx) => tx.create('task', task(`t${created}`, 's1', { spec })));
        created += 1;
      } catch (error) {
        refusal = SkepError.from(error).code;
      }
    }
    t.equal(refusal, 'resource_exhausted');
    t.ok(node.isLeader, 'it still leads, and can be read');
    await node.close();
    execFileSync('mount', ['-o', 'remount,size=2m', mount]);
    node = await openLeader(options.directory, options);
    t.equal(node.store.count('task'), created);
    await node.store.update((tx) => tx.create('task', task('after', 's1')));
    await node.close();
  },
);
