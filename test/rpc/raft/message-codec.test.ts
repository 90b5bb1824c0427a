/** Raft messages and frames on the wire: nothing is lost, nothing wrong is taken. */
import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import t from 'tap';
import { SkepError } from '../../../src/model/errors.js';
import type { Message } from '../../../src/raft/types.js';
import { FRAME, frameHead, FrameReader } from '../../../src/rpc/raft/frames.js';
import { FRAME_BYTES_MAX } from '../../../src/rpc/raft/limits.js';
import { decodeMessage, encodeMessage } from '../../../src/rpc/raft/message-codec.js';

const number = fc.maxSafeNat();
const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const envelope = { from: id, to: id, term: number };
const context = fc.string({ maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 200 });
const entry = fc.record({
  term: number,
  index: number,
  kind: fc.constantFrom('normal' as const, 'confChange' as const),
  data: bytes,
});
const type = <T extends Message['type']>(...types: T[]): fc.Arbitrary<T> =>
  fc.constantFrom(...types);

const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    ...envelope,
    type: type('append'),
    index: number,
    logTerm: number,
    commit: number,
    entries: fc.array(entry, { maxLength: 5 }),
  }),
  fc.record({
    ...envelope,
    type: type('appendResponse'),
    index: number,
    reject: fc.boolean(),
    rejectHint: number,
    logTerm: number,
  }),
  fc.record({
    ...envelope,
    type: type('vote', 'preVote'),
    index: number,
    logTerm: number,
    transfer: fc.boolean(),
  }),
  fc.record({
    ...envelope,
    type: type('voteResponse', 'preVoteResponse'),
    reject: fc.boolean(),
    commit: number,
    logTerm: number,
  }),
  fc.record({ ...envelope, type: type('heartbeat'), commit: number, context }),
  fc.record({ ...envelope, type: type('heartbeatResponse'), context }),
  fc.record({
    ...envelope,
    type: type('snapshot'),
    snapshot: fc.record({
      index: number,
      term: number,
      conf: fc.oneof(
        fc.record({ voters: fc.array(id), learners: fc.array(id) }),
        fc.record({
          voters: fc.array(id),
          learners: fc.array(id),
          joint: fc.record({
            outgoing: fc.array(id, { minLength: 1 }),
            learnersNext: fc.array(id),
            autoLeave: fc.boolean(),
          }),
        }),
      ),
    }),
  }),
  fc.record({ ...envelope, type: type('timeoutNow') }),
  fc.record({ ...envelope, type: type('readIndex'), context }),
  fc.record({ ...envelope, type: type('readIndexResponse'), index: number, context }),
);

void t.test('every message comes out as it went in', async (t) => {
  t.doesNotThrow(
    () =>
      fc.assert(
        fc.property(message, (original) => {
          const decoded = decodeMessage(encodeMessage(original)).message;
          assert.deepEqual(plain(decoded), plain(original));
        }),
        { numRuns: 500 },
      ),
    '500 messages',
  );
});

/** Views on other memory compare by content. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? [...part] : part)),
  );
}

void t.test('the bytes of a snapshot are announced, not carried', async (t) => {
  const conf = { voters: [1], learners: [] };
  const data = new Uint8Array(5000);
  const encoded = encodeMessage({
    type: 'snapshot',
    from: 1,
    to: 2,
    term: 3,
    snapshot: { index: 7, term: 3, conf, data },
  });
  t.ok(encoded.length < 100);
  t.equal(decodeMessage(encoded).snapshotBytes, 5000);
});

void t.test('garbage is refused with an error of ours', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (garbage) => {
      try {
        decodeMessage(garbage);
      } catch (error) {
        assert.ok(error instanceof SkepError);
      }
    }),
    { numRuns: 500 },
  );
  t.throws(() => decodeMessage(new Uint8Array(0)), /its type is not known/);
  // Field 4 (term), beyond 2^53.
  const tooLarge = Buffer.from([8, 7, 32, 255, 255, 255, 255, 255, 255, 255, 255, 127]);
  t.throws(() => decodeMessage(tooLarge), /a number in it is too large/);
});

void t.test('frames come out whole, however the stream is cut', async () => {
  const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 });
  fc.assert(
    fc.property(payloads, fc.integer({ min: 1, max: 50 }), (originals, cut) => {
      const stream = Buffer.concat(
        originals.flatMap((payload) => [frameHead(FRAME.message, payload.length), payload]),
      );
      const reader = new FrameReader();
      const frames: Uint8Array[] = [];
      for (let at = 0; at < stream.length; at += cut) {
        for (const { payload } of reader.push(stream.subarray(at, at + cut))) frames.push(payload);
      }
      assert.deepEqual(
        frames.map((payload) => [...payload]),
        originals.map((payload) => [...payload]),
      );
    }),
    { numRuns: 200 },
  );
});

void t.test('frames beyond the limit, and empty ones, are refused at their head', async (t) => {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(FRAME_BYTES_MAX + 1);
  t.throws(() => new FrameReader().push(head), { code: 'resource_exhausted' });
  t.throws(() => new FrameReader().push(Buffer.alloc(4)), { code: 'invalid_argument' });
});
