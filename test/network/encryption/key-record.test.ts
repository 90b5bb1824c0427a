/**
 * Key records: a valid one is believed, and nothing that was forged, replayed, borrowed from another
 * node or cluster, or has run out.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import {
  EncryptionKeyRecordSchema,
  EncryptionKeysSchema,
} from '../../../src/model/gen/skep/network/v1/tables_pb.js';
import {
  KEY_TABLE,
  type NodeKeys,
  readKeyRecord,
  writeKeyRecord,
} from '../../../src/network/encryption/key-record.js';
import { KnownKeys } from '../../../src/network/encryption/known-keys.js';
import { ENTRY_BYTES_MAX, KEY_CLOCK_SKEW_MS } from '../../../src/network/limits.js';
import { TestCluster } from '../support/test-cluster.js';

const ALICE = 'alicealicealicealicealice';
const BOB = 'bobbobbobbobbobbobbobbobb';
const HOUR_MS = 3_600_000;
const NOW_MS = Date.now();

const cluster = await TestCluster.create();
const alice = await cluster.identity(ALICE);
const bob = await cluster.identity(BOB);

function keysOf(nodeId: string, more: Partial<NodeKeys> = {}): NodeKeys {
  return {
    nodeId,
    sequence: 5n,
    expiresMs: NOW_MS + HOUR_MS,
    underlayAddress: '192.0.2.1',
    tunnel: 77,
    generations: [
      { number: 3n, publicKey: 'ab'.repeat(32), port: 7948 },
      { number: 4n, publicKey: 'cd'.repeat(32), port: 7947 },
    ],
    ...more,
  };
}

/** What Bob thinks of a record of Alice. */
function judged(record: Uint8Array, owner = ALICE, nowMs = NOW_MS): string {
  const read = readKeyRecord(record, { owner, identity: bob, nowMs });
  return read.kind === 'valid' ? 'valid' : read.why;
}

void t.test('a record says what was written, and fits a gossip entry', async (t) => {
  const keys = keysOf(ALICE, { underlayAddress: '192.168.100.200' });
  const record = writeKeyRecord(keys, alice);
  t.ok(record.length <= ENTRY_BYTES_MAX, `${record.length} bytes`);
  const read = readKeyRecord(record, { owner: ALICE, identity: bob, nowMs: NOW_MS });
  t.same(read, { kind: 'valid', keys });
});

void t.test('a changed byte is noticed, wherever it is', async (t) => {
  const record = writeKeyRecord(keysOf(ALICE), alice);
  for (let at = 0; at < record.length; at++) {
    const bytes = Uint8Array.from(record);
    bytes[at] = (bytes[at] ?? 0) ^ 0x01;
    const read = readKeyRecord(bytes, { owner: ALICE, identity: bob, nowMs: NOW_MS });
    if (read.kind === 'valid') t.same(read.keys, keysOf(ALICE), `byte ${at} means nothing`);
  }
  for (let length = 0; length < record.length; length += 7) {
    t.not(judged(record.subarray(0, length)), 'valid');
  }
});

void t.test('keys under the signature of another key', async (t) => {
  const mine = fromBinary(EncryptionKeyRecordSchema, writeKeyRecord(keysOf(ALICE), bob));
  const hers = fromBinary(EncryptionKeyRecordSchema, writeKeyRecord(keysOf(ALICE), alice));
  const forged = create(EncryptionKeyRecordSchema, { ...hers, signature: mine.signature });
  t.equal(judged(toBinary(EncryptionKeyRecordSchema, forged)), 'signature');
  const swapped = fromBinary(EncryptionKeysSchema, hers.keys);
  swapped.underlayAddress = '192.0.2.66';
  const moved = create(EncryptionKeyRecordSchema, {
    ...hers,
    keys: toBinary(EncryptionKeysSchema, swapped),
  });
  t.equal(judged(toBinary(EncryptionKeyRecordSchema, moved)), 'signature');
});

void t.test('a node speaks for itself only', async (t) => {
  t.equal(judged(writeKeyRecord(keysOf(ALICE), bob)), 'node', 'signed by another node');
  t.equal(judged(writeKeyRecord(keysOf(ALICE), alice), BOB), 'node', 'announced by another node');
});

void t.test('certificates of another cluster, another root, or out of time', async (t) => {
  const stranger = await TestCluster.create('strangerstrangerstranger0');
  t.equal(judged(writeKeyRecord(keysOf(ALICE), await stranger.identity(ALICE))), 'certificate');
  const sameRoot = TestCluster.from(cluster.root, 'otherclusterotherclusteroo');
  t.equal(judged(writeKeyRecord(keysOf(ALICE), await sameRoot.identity(ALICE))), 'certificate');
  const root = { ...alice, certificatePem: alice.rootCaPem, privateKeyPem: alice.privateKeyPem };
  t.not(judged(writeKeyRecord(keysOf(ALICE), root)), 'valid', 'the root is no node');
  const late = NOW_MS + 48 * HOUR_MS;
  const lasting = writeKeyRecord(keysOf(ALICE, { expiresMs: late + HOUR_MS }), alice);
  t.equal(judged(lasting), 'valid');
  t.equal(judged(lasting, ALICE, late), 'certificate', 'after the certificate');
  t.equal(judged(lasting, ALICE, NOW_MS - 3 * HOUR_MS), 'certificate', 'before it');
});

void t.test('records run out', async (t) => {
  const record = writeKeyRecord(keysOf(ALICE), alice);
  t.equal(judged(record, ALICE, NOW_MS + HOUR_MS + KEY_CLOCK_SKEW_MS), 'valid');
  t.equal(judged(record, ALICE, NOW_MS + HOUR_MS + KEY_CLOCK_SKEW_MS + 1), 'expired');
});

void t.test('values out of range', async (t) => {
  const key = { number: 3n, publicKey: 'ab'.repeat(32), port: 7948 };
  const broken: Partial<NodeKeys>[] = [
    { sequence: 0n },
    { tunnel: 0 },
    { tunnel: 2 ** 27 },
    { underlayAddress: '224.0.0.1' },
    { underlayAddress: 'host' },
    { generations: [] },
    { generations: [key, key] },
    { generations: [key, { ...key, number: 4n }, { ...key, number: 5n }] },
    { generations: [{ ...key, port: 0 }] },
    { generations: [{ ...key, publicKey: 'ab' }] },
  ];
  for (const more of broken) {
    t.equal(judged(writeKeyRecord(keysOf(ALICE, more), alice)), 'malformed');
  }
});

void t.test('the newest record counts, also after leaving and restarting', async (t) => {
  let nowMs = NOW_MS;
  const make = () =>
    new KnownKeys(
      () => bob,
      () => nowMs,
    );
  const known = make();
  const place = { networkId: 'n1', table: KEY_TABLE, key: ALICE, owner: ALICE };
  const say = (sequence: bigint, networkId = 'n1', to = known) => {
    const value = writeKeyRecord(keysOf(ALICE, { sequence }), alice);
    return to.apply({ type: 'entry', ...place, networkId, value });
  };
  t.equal(
    known.apply({ type: 'entry', ...place, table: 'other', value: new Uint8Array() }),
    'unchanged',
  );
  t.equal(say(5n), 'changed');
  t.equal(say(4n), 'replayed');
  t.equal(say(5n), 'replayed', 'another record with the same number');
  t.equal(say(6n), 'changed');
  t.equal(known.peers()[0]?.sequence, 6n);

  known.apply({ type: 'entry-removed', ...place, reason: 'owner-failed' });
  t.equal(known.peers().length, 1, 'its packets may go on without its skepd');
  known.apply({ type: 'entry-removed', ...place, reason: 'deleted' });
  t.equal(known.peers().length, 0);
  t.equal(say(5n), 'replayed', 'no way back to an old key');
  t.equal(known.peers().length, 0);

  const next = make();
  next.restore(known.records());
  t.equal(next.peers().length, 1, 'a record from the file is used until gossip says otherwise');
  t.equal(say(5n, 'n1', next), 'replayed');
  t.equal(say(7n, 'n1', next), 'changed');
  next.dropNetwork('n1');
  t.equal(next.peers().length, 0);
  t.equal(say(8n, 'n2', next), 'changed');
  nowMs += HOUR_MS + KEY_CLOCK_SKEW_MS + 1;
  t.equal(next.peers().length, 0, 'until it runs out');
});
