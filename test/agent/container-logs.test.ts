/** Log frames and lines: any chunking gives the same, garbage is refused, memory is bounded. */
import { array, assert, integer, property } from 'fast-check';
import t from 'tap';
import {
  engineLogOptions,
  FrameDecoder,
  parseLine,
  parseTimestamp,
} from '../../src/agent/container-logs.js';
import { create } from '@bufbuild/protobuf';
import { LogSubscriptionOptionsSchema } from '../../src/model/gen/docker/swarmkit/v1/logbroker_pb.js';

function frame(stream: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

void t.test('frames come out the same however the bytes are cut', async () => {
  const bytes = Buffer.concat([frame(1, 'one\n'), frame(2, ''), frame(2, 'two'), frame(1, 'x')]);
  const expected = [
    ['stdout', 'one\n'],
    ['stderr', ''],
    ['stderr', 'two'],
    ['stdout', 'x'],
  ];
  assert(
    property(array(integer({ min: 0, max: bytes.length })), (cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const decoder = new FrameDecoder();
      const found = places
        .slice(1)
        .flatMap((end, index) => decoder.push(bytes.subarray(places[index], end)));
      const seen = found.map(({ stream, payload }) => [stream, payload.toString()]);
      return JSON.stringify(seen) === JSON.stringify(expected);
    }),
  );
});

void t.test('malformed frames and lines are refused', async (t) => {
  t.throws(() => new FrameDecoder().push(frame(3, 'x')), { code: 'data_loss' });
  const huge = frame(1, '');
  huge.writeUInt32BE(0xffffffff, 4);
  t.throws(() => new FrameDecoder().push(huge), { code: 'data_loss' });
  for (const line of ['', 'x', 'x y', 'yesterday a=b text']) {
    t.throws(() => parseLine('stdout', Buffer.from(line)), { code: 'data_loss' }, line);
  }
});

void t.test('lines: time to the nanosecond, attributes unescaped, text untouched', async (t) => {
  const line = '2026-01-02T03:04:05.000000123Z a=b,c%3D=d+e text  with spaces\n';
  const parsed = parseLine('stderr', Buffer.from(line));
  t.equal(parsed.timestampNs, BigInt(Date.UTC(2026, 0, 2, 3, 4, 5)) * 1_000_000n + 123n);
  t.same(parsed.attributes, [
    ['a', 'b'],
    ['c=', 'd e'],
  ]);
  t.equal(Buffer.from(parsed.data).toString(), 'text  with spaces\n');
  const bare = parseLine('stdout', Buffer.from('2026-01-02T03:04:05Z  x'));
  t.same(bare.attributes, []);
  t.equal(parseTimestamp('2026-01-02T03:04:05.5+01:00') % 1_000_000_000n, 500_000_000n);
});

void t.test('tail and since as SwarmKit counts them', async (t) => {
  const options = (parts: object) => engineLogOptions(create(LogSubscriptionOptionsSchema, parts));
  t.match(options({}), { tail: 'all', stdout: true, stderr: true, since: '' });
  t.equal(options({ tail: -1n }).tail, 0);
  t.equal(options({ tail: -11n }).tail, 10);
  t.throws(() => options({ tail: 1n }), { code: 'invalid_argument' });
  t.match(options({ streams: [2] }), { stdout: false, stderr: true });
  t.equal(options({ since: { seconds: 5n, nanos: 7 } }).since, '5.000000007');
});
