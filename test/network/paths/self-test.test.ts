/**
 * The self-test of paths under a virtual clock, between two nodes whose path a test breaks. What the
 * kernel does is in test/native/datapath/self-test.test.ts.
 */
import { assert, integer, nat, property, uint8Array } from 'fast-check';
import t from 'tap';
import { RecordingDatapath } from '../../../src/native/recording-datapath.js';
import { judge, type ProbeWay, sizesBetween } from '../../../src/network/paths/judge.js';
import {
  ANSWERS_PER_SECOND,
  NONCE_BYTES,
  PATH_TICK_MS,
  PROBE_BYTES_MAX,
  PROBE_BYTES_MIN,
} from '../../../src/network/paths/limits.js';
import {
  decodePathMessage,
  encodeAnswer,
  encodeProbe,
} from '../../../src/network/paths/probe-message.js';
import { PathSelfTest } from '../../../src/network/paths/self-test.js';
import { createLogger } from '../../../src/observe/logger.js';
import { SeededRandom, SimulatedClock } from '../../support/simulated-environment.js';
import { ONE, STOCK, TWO } from '../support/path-peers.js';

/** A packet on its way; the path may change it, or lose it by giving nothing. */
type PathBetween = (
  way: ProbeWay,
  from: string,
  message: Uint8Array,
  softwareChecksums: boolean,
) => Uint8Array | undefined;

function setUp(between: PathBetween, seed = 1) {
  const clock = new SimulatedClock();
  const random = new SeededRandom(seed);
  const path = { between };
  const sent: string[] = [];
  const make = (self: typeof ONE, other: typeof ONE) => {
    const datapath = new RecordingDatapath();
    const alive = new Set([ONE.owner, TWO.owner]);
    const selfTest: PathSelfTest = new PathSelfTest({
      ...{ datapath, clock, random, logger: createLogger({ level: 'fatal' }) },
      isAlive: (owner) => alive.has(owner),
      transport: {
        open: () => true,
        send: (way, to, message) => {
          sent.push(`${self.owner} ${way} ${to}`);
          const arrives = path.between(way, self.nodeId, message, datapath.softwareChecksums());
          if (arrives === undefined || to !== other.nodeId) return;
          clock.setTimer(1, () => nodes.get(to)?.selfTest.receive(self.nodeId, arrives));
        },
        close: () => Promise.resolve(),
      },
    });
    selfTest.configure(self.nodeId, [other, STOCK]);
    return { datapath, selfTest, alive };
  };
  const nodes = new Map<string, ReturnType<typeof make>>();
  const one = make(ONE, TWO);
  const two = make(TWO, ONE);
  nodes.set(ONE.nodeId, one).set(TWO.nodeId, two);
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= PATH_TICK_MS) {
      clock.advance(PATH_TICK_MS);
      for (const { selfTest } of nodes.values()) selfTest.tick();
    }
  };
  const stateOf = ({ selfTest }: typeof one) => selfTest.report().paths[0]?.state;
  return { one, two, path, pass, stateOf, sent, clock };
}

const switches = ({ calls }: RecordingDatapath) =>
  calls.filter((call) => call === 'useSoftwareChecksums').length;

void t.test('a good path, and a stock engine beside it', async (t) => {
  const { one, pass, stateOf, sent } = setUp((_way, _from, message) => message);
  t.same(stateOf(one), { kind: 'untested' });
  pass(2000);
  t.same(stateOf(one), { kind: 'good', packetBytes: one.datapath.containerMtu });
  const [path, stock] = one.selfTest.report().paths;
  t.ok((path?.roundTripMs ?? 0) > 0);
  t.match(stock, { state: { kind: 'stock' }, text: /stock Docker Engine/ });
  t.notOk(
    sent.some((line) => line.endsWith(STOCK.nodeId)),
    'which is not asked',
  );
  sent.length = 0;
  pass(60_000);
  // Three probes of each node and two answers to each, every 6 s or so.
  t.ok(sent.length <= 2 * 9 * 12, `${sent.length} messages in a minute`);
});

void t.test('an offload that breaks checksums of one node', async (t) => {
  const { one, two, pass, stateOf } = setUp((way, from, message, software) =>
    way === 'offloaded' && from === ONE.nodeId && !software ? undefined : message,
  );
  pass(10_000);
  t.equal(switches(one.datapath), 1, 'switched within 10 s');
  t.equal(switches(two.datapath), 0, 'the other is not');
  t.same(stateOf(two)?.kind, 'good');
  pass(10_000);
  t.same(stateOf(one)?.kind, 'good');
  t.equal(one.selfTest.report().softwareChecksums, true);
});

void t.test('software checksums that do not help are not switched again', async (t) => {
  const { one, pass, stateOf } = setUp((way, from, message) =>
    way === 'offloaded' && from === ONE.nodeId ? undefined : message,
  );
  pass(60_000);
  t.equal(switches(one.datapath), 1);
  t.same(stateOf(one), { kind: 'offload' });
});

void t.test('content that was changed under a right checksum counts as lost', async (t) => {
  const { one, two, path, pass, stateOf } = setUp((_way, _from, message) => message);
  path.between = (_way, _from, message) => {
    if (message.length === PROBE_BYTES_MIN) return message;
    const changed = Buffer.from(message);
    changed[message.length - 1] = 1 ^ (changed[message.length - 1] ?? 0);
    return changed;
  };
  pass(20_000);
  for (const node of [one, two]) {
    t.match(stateOf(node), { kind: 'size', largestBytes: PROBE_BYTES_MIN + 28 });
    t.equal(switches(node.datapath), 0);
  }
});

void t.test('the largest size that passes is found', async (t) => {
  for (const largest of [100, 576, 577, 1280, 1400, 1446, 1449]) {
    const { one, pass, stateOf, path } = setUp((_way, _from, message) =>
      message.length + 28 > largest ? undefined : message,
    );
    pass(10_000);
    const state = stateOf(one);
    t.equal(state?.kind, 'size', `${largest}`);
    if (state?.kind !== 'size') continue;
    t.ok(state.largestBytes <= largest && state.largestBytes > largest - 5, `${largest}`);
    path.between = (_way, _from, message) => message;
    pass(5000);
    t.equal(stateOf(one)?.kind, 'good', 'and again');
  }
});

void t.test(
  'silence: a filter, in one direction or both, or a skepd that does not answer',
  async (t) => {
    const { one, two, path, pass, stateOf } = setUp((_way, from, message) =>
      from === ONE.nodeId ? undefined : message,
    );
    pass(10_000);
    t.same(stateOf(one), { kind: 'blocked', heard: true });
    t.same(stateOf(two), { kind: 'blocked', heard: false });
    path.between = () => undefined;
    pass(30_000);
    t.same(stateOf(one), { kind: 'blocked', heard: false });
    t.match(one.selfTest.report().paths[0]?.text, /between this node and two \(192\.0\.2\.2\)/);
    one.datapath.answering.add(TWO.tunnelAddress);
    pass(10_000);
    t.same(stateOf(one), { kind: 'unanswered' });
    one.alive.delete(TWO.owner);
    pass(10_000);
    t.same(stateOf(one), { kind: 'untested' }, 'a node that is down is none of our business');
  },
);

void t.test('lost packets are no fault of the path', async (t) => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const chance = new SeededRandom(seed);
    const { one, two, pass, stateOf } = setUp(
      (_way, _from, message) => (chance.next() < 0.05 ? undefined : message),
      seed,
    );
    for (let minute = 0; minute < 60; minute += 1) {
      pass(60_000);
      for (const node of [one, two]) {
        t.equal(stateOf(node)?.kind, 'good', `seed ${seed}, minute ${minute}`);
        t.equal(switches(node.datapath), 0);
      }
    }
  }
});

void t.test('answers go to known nodes, and to nobody without end', async (t) => {
  const { one, sent, clock } = setUp(() => undefined);
  const probe = encodeProbe(Buffer.alloc(NONCE_BYTES, 7), 1000);
  one.selfTest.receive('10.0.0.77', probe);
  t.same(sent, []);
  for (let index = 0; index < 1000; index += 1) one.selfTest.receive(TWO.nodeId, probe);
  t.equal(sent.length, 2 * ANSWERS_PER_SECOND);
  clock.advance(1000);
  one.selfTest.tick();
  sent.length = 0;
  one.selfTest.receive(TWO.nodeId, probe);
  t.equal(sent.length, 2, 'again in the next second');
});

void t.test('messages', async (t) => {
  const nonces = uint8Array({ minLength: NONCE_BYTES, maxLength: NONCE_BYTES });
  assert(
    property(nonces, integer({ min: PROBE_BYTES_MIN, max: 1500 }), nat(), (nonce, bytes, at) => {
      const probe = encodeProbe(nonce, bytes);
      t.equal(probe.length, bytes);
      t.same(decodePathMessage(probe), { kind: 'probe', nonce, intact: true });
      const changed = Buffer.from(probe);
      const index = at % bytes;
      changed[index] = 0x20 ^ (changed[index] ?? 0);
      const read = decodePathMessage(changed);
      // Bytes 6 and 7 mean nothing in a probe.
      t.notOk(index !== 6 && index !== 7 && read?.kind === 'probe' && read.intact, `${index}`);
      const answer = encodeAnswer(nonce, bytes, false);
      t.equal(answer.length, PROBE_BYTES_MIN);
      t.same(decodePathMessage(answer), { kind: 'answer', nonce, bytes, intact: false });
    }),
  );
  assert(
    property(uint8Array({ maxLength: 200 }), (garbage) => {
      decodePathMessage(garbage);
      decodePathMessage(Buffer.concat([Buffer.from('SKPT\x01\x01'), garbage]));
    }),
  );
  t.equal(decodePathMessage(Buffer.alloc(PROBE_BYTES_MAX + 1)), undefined);
});

void t.test('judging a round', async (t) => {
  const probe = (way: ProbeWay, packetBytes: number, passed: boolean) => ({
    ...{ way, packetBytes, passed },
  });
  t.same(judge([probe('offloaded', 92, true), probe('offloaded', 92, false)]), { kind: 'good' });
  t.same(judge([probe('offloaded', 92, false), probe('offloaded', 1450, false)]), {
    kind: 'silent',
  });
  t.same(judge([probe('offloaded', 92, true), probe('offloaded', 1450, false)]), {
    ...{ kind: 'size', passes: 92, fails: 1450 },
  });
  t.same(judge([probe('offloaded', 92, false), probe('offloaded', 1450, true)]), { kind: 'good' });
  t.same(
    judge([
      probe('offloaded', 92, true),
      probe('offloaded', 577, false),
      probe('summed', 577, true),
    ]),
    { kind: 'offload' },
    'one size is enough',
  );
  t.same(sizesBetween(1400, 1404), []);
  t.same(sizesBetween(100, 180), [110, 120, 130, 140, 150, 160, 170]);
});
