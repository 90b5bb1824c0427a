/**
 * Direct return under a virtual clock, between two nodes whose network a test changes. What the kernel
 * does is in test/native/datapath/direct-return.test.ts.
 */
import { assert, property, uint8Array } from 'fast-check';
import t from 'tap';
import { RecordingDatapath } from '../../../src/native/recording-datapath.js';
import { DirectReturn } from '../../../src/network/direct/direct-return.js';
import {
  DIRECT_NONCE_BYTES,
  PROBES_PER_SECOND,
  PROVEN_LIFE_MS,
  SHORT_PROBE_BYTES,
} from '../../../src/network/direct/limits.js';
import {
  decodeDirectMessage,
  type DirectMessage,
  encodeDirectMessage,
} from '../../../src/network/direct/message.js';
import { directTunnels } from '../../../src/network/direct/wanted.js';
import { PATH_TICK_MS } from '../../../src/network/paths/limits.js';
import { createLogger } from '../../../src/observe/logger.js';
import { SeededRandom, SimulatedClock } from '../../support/simulated-environment.js';
import { ONE, STOCK, TWO } from '../support/path-peers.js';

const BOTH = new Set([TWO.tunnelAddress, STOCK.tunnelAddress]);

/** What lies between the nodes. */
interface Fabric {
  /** Foreign source addresses pass, up to this many bytes. */
  largest: number;
  /** The tunnel carries the nodes' messages. */
  talks: boolean;
  /** Node two can send under another address at all. */
  able: boolean;
}

function setUp() {
  const clock = new SimulatedClock();
  const random = new SeededRandom(1);
  const fabric: Fabric = { largest: 1500, talks: true, able: true };
  const sent: { from: string; to: string; kind: string }[] = [];
  const probes: { to: string; bytes: number }[] = [];
  const alive = new Set([ONE.owner, TWO.owner]);
  const make = (self: typeof ONE, others: readonly (typeof ONE)[]) => {
    const datapath = new RecordingDatapath();
    datapath.onDirectProbe = (to, nonce, bytes) => {
      if (!fabric.able) return false;
      probes.push({ to, bytes });
      if (bytes <= fabric.largest && to === ONE.tunnelAddress) {
        clock.setTimer(1, () => nodes.get(ONE.nodeId)?.datapath.receiveDirectProbe(nonce, bytes));
      }
      return true;
    };
    const direct: DirectReturn = new DirectReturn({
      ...{ datapath, clock, random, logger: createLogger({ level: 'fatal' }) },
      isAlive: (owner) => alive.has(owner),
      transport: {
        open: () => true,
        send: (_way, to, bytes) => {
          sent.push({ from: self.nodeId, to, kind: decodeDirectMessage(bytes)?.kind ?? '' });
          if (fabric.talks) {
            clock.setTimer(1, () => nodes.get(to)?.direct.receive(self.nodeId, bytes));
          }
        },
        close: () => Promise.resolve(),
      },
    });
    direct.configure(self.nodeId, others, self === ONE ? BOTH : new Set());
    return { datapath, direct };
  };
  const nodes = new Map<string, ReturnType<typeof make>>();
  const one = make(ONE, [TWO, STOCK]);
  const two = make(TWO, [ONE]);
  nodes.set(ONE.nodeId, one).set(TWO.nodeId, two);
  const pass = (ms: number, ticking: readonly (typeof one)[] = [one, two]) => {
    for (let left = ms; left > 0; left -= PATH_TICK_MS) {
      clock.advance(PATH_TICK_MS);
      for (const { direct } of ticking) direct.tick();
    }
  };
  const state = () => one.direct.report().nodes[0]?.state.kind;
  return { one, two, fabric, sent, probes, alive, pass, state };
}

const ENTRY = [{ tunnelAddress: TWO.tunnelAddress, asEntry: true, asBackend: false }];
const BACKEND = [{ tunnelAddress: ONE.tunnelAddress, asEntry: false, asBackend: true }];

void t.test('a network that carries it', async (t) => {
  const { one, two, sent, probes, pass, state } = setUp();
  t.same(one.datapath.directWays, [], 'nothing before it is proven');
  pass(2500);
  t.equal(state(), 'proven');
  t.same(one.datapath.directWays, ENTRY);
  t.same(two.datapath.directWays, BACKEND);
  const sizes = new Set(probes.map(({ bytes }) => bytes));
  t.same(sizes, new Set([SHORT_PROBE_BYTES, two.datapath.containerMtu]), 'short and full');
  t.ok(
    probes.every(({ to }) => to === ONE.tunnelAddress),
    'to who asked only',
  );
  t.match(one.direct.report().nodes[1], { state: { kind: 'silent' } }, 'a stock engine');
  t.notOk(
    sent.some(({ to }) => to === STOCK.nodeId),
    'which is not asked',
  );
  t.equal(two.direct.report().nodes[0]?.state.kind, 'idle', 'nobody wants it the other way');
  t.equal(two.direct.report().nodes[0]?.asBackend, true);
  probes.length = 0;
  pass(60_000);
  t.ok(probes.length >= 16 && probes.length <= 24, `${probes.length} probes in a minute`);
  t.same(two.datapath.directWays, BACKEND, 'and it stays in force');
});

for (const [name, largest] of [
  ['foreign addresses', 0],
  ['long packets under foreign addresses', 1000],
] as const) {
  void t.test(`a network that drops ${name}`, async (t) => {
    const { one, two, fabric, pass, state } = setUp();
    fabric.largest = largest;
    pass(10_000);
    t.equal(state(), 'lost');
    t.same(one.datapath.directWays, []);
    t.same(two.datapath.directWays, []);
    t.match(one.direct.report().nodes[0]?.text, /two \(192\.0\.2\.2\) .* do not arrive/);
    fabric.largest = 1500;
    pass(7000);
    t.equal(state(), 'proven', 'one that begins to carry it is noticed');
  });
}

void t.test('a network that stops to carry it', async (t) => {
  const { one, two, fabric, sent, pass, state } = setUp();
  pass(2500);
  fabric.largest = 0;
  pass(12_000);
  t.equal(state(), 'lost');
  t.same(one.datapath.directWays, []);
  t.same(two.datapath.directWays, [], 'the other node is told');
  t.ok(sent.some(({ kind }) => kind === 'withdrawn'));
});

void t.test('the entry node’s word acts at once, not with the next tick', async (t) => {
  const { two, pass } = setUp();
  pass(2500);
  t.same(two.datapath.directWays, BACKEND);
  const nonce = new Uint8Array(DIRECT_NONCE_BYTES);
  two.direct.receive(ONE.nodeId, encodeDirectMessage({ kind: 'withdrawn', nonce }));
  t.same(two.datapath.directWays, []);
  const { one, two: other, pass: go } = setUp();
  go(2500, [one]);
  t.same(other.datapath.directWays, BACKEND, 'proven to a node that has not ticked');
});

void t.test('one lost round is chance', async (t) => {
  const { one, fabric, pass, state } = setUp();
  pass(2500);
  fabric.largest = 0;
  // A round begins every 6 s or so: one or two of them fall into this.
  pass(6000);
  fabric.largest = 1500;
  pass(6000);
  t.equal(state(), 'proven');
  t.same(one.datapath.directWays, ENTRY);
});

void t.test(
  'an entry node that falls silent is answered by the tunnel after a while',
  async (t) => {
    const { two, pass } = setUp();
    pass(2500);
    pass(PROVEN_LIFE_MS / 2, [two]);
    t.same(two.datapath.directWays, BACKEND);
    pass(PROVEN_LIFE_MS, [two]);
    t.same(two.datapath.directWays, []);
  },
);

void t.test('nodes that cannot, do not answer, or are not wanted any more', async (t) => {
  const { one, two, fabric, alive, sent, pass, state } = setUp();
  fabric.able = false;
  pass(10_000);
  t.equal(state(), 'unable');
  t.match(one.direct.report().nodes[0]?.text, /several underlay interfaces/);
  fabric.able = true;
  pass(10_000);
  t.equal(state(), 'proven');
  fabric.talks = false;
  pass(12_000);
  t.equal(state(), 'silent');
  fabric.talks = true;
  pass(10_000);
  t.equal(state(), 'proven');
  alive.delete(TWO.owner);
  pass(10_000);
  t.equal(state(), 'untested', 'not in the ring');
  t.same(one.datapath.directWays, []);
  alive.add(TWO.owner);
  pass(3000);
  one.direct.configure(ONE.nodeId, [TWO], new Set());
  pass(7000);
  t.equal(state(), 'idle');
  t.same([one.datapath.directWays, two.datapath.directWays], [[], []]);
  sent.length = 0;
  pass(60_000);
  t.equal(sent.length, 0, 'nothing is said without a service that wants it');
});

void t.test('what others may make a node do', async (t) => {
  const { two, probes, pass } = setUp();
  pass(2500);
  pass(PROVEN_LIFE_MS * 2, [two]);
  probes.length = 0;
  const nonce = new Uint8Array(DIRECT_NONCE_BYTES).fill(7);
  const proven = encodeDirectMessage({ kind: 'proven', nonce });
  two.direct.receive(ONE.nodeId, proven);
  pass(500, [two]);
  t.same(two.datapath.directWays, [], 'a probe that was never sent proves nothing');
  const ask = encodeDirectMessage({ kind: 'ask', nonce, full: true });
  for (let i = 0; i < 1000; i += 1) two.direct.receive(ONE.nodeId, ask);
  t.equal(probes.length, PROBES_PER_SECOND);
  for (let i = 0; i < 1000; i += 1) two.direct.receive('10.0.0.99', ask);
  t.equal(probes.length, PROBES_PER_SECOND, 'strangers are not heard');
});

void t.test('messages', async (t) => {
  const nonce = Uint8Array.from({ length: DIRECT_NONCE_BYTES }, (_, index) => index);
  const messages: readonly DirectMessage[] = [
    { kind: 'ask', nonce, full: true },
    { kind: 'ask', nonce, full: false },
    ...(['sent', 'unable', 'proven', 'withdrawn'] as const).map((kind) => ({ kind, nonce })),
  ];
  for (const message of messages) {
    const bytes = encodeDirectMessage(message);
    t.same(decodeDirectMessage(bytes), message);
    t.equal(decodeDirectMessage(bytes.subarray(0, -1)), undefined);
  }
  t.equal(
    encodeDirectMessage({ kind: 'ask', nonce, full: true }).toString('hex'),
    '534b504401010100000102030405060708090a0b0c0d0e0f',
  );
  assert(
    property(uint8Array({ maxLength: 64 }), (bytes) => {
      decodeDirectMessage(bytes);
    }),
  );
});

void t.test('only nodes with tasks of services that want it are asked', async (t) => {
  const place = (last: number) => ({ vni: 4096, address: `10.0.0.${last}` });
  const published = (port: number, last: number, direct: boolean) => ({
    key: { kind: 'published', protocol: 'tcp', port } as const,
    ...{ backends: [place(last)], ...(direct ? { direct } : {}) },
  });
  const backend = (last: number, tunnelAddress?: string) => ({
    ...{ ...place(last), state: 'active' as const },
    ...(tunnelAddress === undefined ? {} : { tunnelAddress }),
  });
  t.same(
    directTunnels({
      services: [published(80, 5, true), published(81, 6, false), published(82, 7, true)],
      backends: [backend(5, '192.0.2.2'), backend(6, '192.0.2.3'), backend(7)],
    }),
    new Set(['192.0.2.2']),
  );
});
