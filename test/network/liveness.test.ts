/**
 * Tables and liveness under a virtual clock: who is dead, who is only silent.
 */
import t from 'tap';
import type { GossipEvent, GossipMember } from '../../src/native/gossip-types.js';
import { RecordingDatapath } from '../../src/native/recording-datapath.js';
import {
  DOUBT_MS_MIN,
  ECHO_PERIOD_MS,
  ECHO_SILENCE_MS,
  FAILED_COUNTS_MS,
  FAILED_WATCH_MS,
  FAILED_WATCH_PERIODS,
  REFRESH_MS,
} from '../../src/network/limits.js';
import { Liveness } from '../../src/network/liveness.js';
import {
  encodeEndpoint,
  encodePeer,
  ENDPOINT_TABLE,
  PEER_TABLE,
} from '../../src/network/records.js';
import { EndpointTables } from '../../src/network/tables.js';
import { SimulatedClock } from '../support/simulated-environment.js';

const TUNNEL = '192.0.2.2';

function peerEntry(key = 'k'): GossipEvent & { type: 'entry' } {
  const mac = '02:42:0a:00:01:05';
  const value = encodePeer({ address: '10.0.1.5', prefixLength: 24, mac, tunnelAddress: TUNNEL });
  return { type: 'entry', networkId: 'n', table: PEER_TABLE, key, owner: 'two', value };
}

function removal(
  reason: 'deleted' | 'owner-failed' | 'owner-left',
  owner = 'two',
): GossipEvent & { type: 'entry-removed' } {
  return { type: 'entry-removed', networkId: 'n', table: PEER_TABLE, key: 'k', owner, reason };
}

function member(state: GossipMember['state']): GossipMember {
  return { name: 'two', address: TUNNEL, port: 7946, state };
}

/** A cluster view with one remote entry, and time passing in echo periods. */
function setUp() {
  const clock = new SimulatedClock();
  const datapath = new RecordingDatapath();
  const withdrawn: string[] = [];
  const tables = new EndpointTables(({ address }) => withdrawn.push(address));
  const answered: string[] = [];
  const onAnswer = (owner: string) => answered.push(owner);
  const liveness = new Liveness({ clock, echoes: datapath, entries: tables, onAnswer });
  liveness.member(member('alive'));
  tables.apply(peerEntry());
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= ECHO_PERIOD_MS) {
      clock.advance(ECHO_PERIOD_MS);
      liveness.tick(new Set());
    }
  };
  return { datapath, tables, liveness, pass, withdrawn, answered };
}

void t.test('a dead node goes: gossip failed and its data path silent', async (t) => {
  const { tables, liveness, pass, withdrawn } = setUp();
  liveness.member(member('failed'));
  tables.apply(removal('owner-failed'));
  t.equal(tables.peers().length, 1, 'held at first');
  pass(2 * ECHO_PERIOD_MS);
  t.equal(tables.peers().length, 1, 'echoes are on their way');
  pass(ECHO_SILENCE_MS + ECHO_PERIOD_MS);
  t.same(tables.peers(), []);
  t.same(withdrawn, ['10.0.1.5']);
});

void t.test('time spent as a suspect counts', async (t) => {
  const { tables, liveness, pass } = setUp();
  liveness.member(member('suspect'));
  pass(ECHO_SILENCE_MS + ECHO_PERIOD_MS);
  t.equal(tables.peers().length, 1, 'a suspicion takes nothing out');
  liveness.member(member('failed'));
  tables.apply(removal('owner-failed'));
  pass(ECHO_PERIOD_MS);
  t.same(tables.peers(), []);
});

void t.test('a stopped agent alone takes nothing out', async (t) => {
  const { tables, liveness, pass, datapath } = setUp();
  datapath.answering.add(TUNNEL);
  liveness.member(member('failed'));
  tables.apply(removal('owner-failed'));
  pass(60_000);
  t.equal(tables.peers().length, 1);
  t.equal(tables.peers()[0]?.held, true);
  datapath.answering.clear();
  pass(ECHO_SILENCE_MS + 2 * ECHO_PERIOD_MS);
  t.same(tables.peers(), [], 'until its host dies too');
});

void t.test('who comes back is refreshed; what it does not announce again goes', async (t) => {
  const { tables, liveness, pass, datapath } = setUp();
  datapath.answering.add(TUNNEL);
  tables.apply(peerEntry('other'));
  liveness.member(member('failed'));
  tables.apply(removal('owner-failed'));
  tables.apply({ ...removal('owner-failed'), key: 'other' });
  pass(3000);
  liveness.member(member('alive'));
  tables.apply(peerEntry('k'));
  pass(REFRESH_MS - 1000);
  t.equal(tables.peers().length, 2);
  pass(2000);
  t.same(
    tables.peers().map(({ key, held }) => [key, held]),
    [['k', false]],
  );
});

void t.test('a node that was dead is noticed by its data path, also long after', async (t) => {
  for (const absenceMs of [3000, 120_000]) {
    const { tables, liveness, pass, datapath, answered } = setUp();
    liveness.member(member('failed'));
    tables.apply(removal('owner-failed'));
    pass(absenceMs);
    t.same(tables.peers(), [], 'nothing of it is left');
    const silenceMs = liveness.silenceMs('two');
    t.equal(silenceMs, absenceMs + DOUBT_MS_MIN, 'since the probe that it did not answer');
    t.same(answered, []);
    datapath.answering.add(TUNNEL);
    pass(absenceMs === 3000 ? 3 * ECHO_PERIOD_MS : 3 * FAILED_WATCH_PERIODS * ECHO_PERIOD_MS);
    t.same(answered, ['two'], 'told once');
    t.ok(liveness.silenceMs('two') <= ECHO_PERIOD_MS);
    t.equal(liveness.silenceMs('nobody'), Number.POSITIVE_INFINITY);
  }
});

void t.test('how long a member is surely silent', async (t) => {
  const { liveness, pass, datapath } = setUp();
  datapath.answering.add(TUNNEL);
  pass(1000);
  t.equal(liveness.silenceMs('two'), 0);
  liveness.member(member('suspect'));
  t.equal(liveness.silenceMs('two'), DOUBT_MS_MIN);
  // Echoes are sent from then on: the last one that came back tells most.
  pass(1000);
  datapath.answering.clear();
  pass(1000);
  const silenceMs = liveness.silenceMs('two');
  t.ok(silenceMs <= 1000, `${silenceMs} ms: not since before it fell silent`);
  t.ok(silenceMs >= 1000 - 2 * ECHO_PERIOD_MS, `${silenceMs} ms`);
  datapath.forgetReply(TUNNEL);
  pass(1000);
  t.equal(liveness.silenceMs('two'), silenceMs + 1000, 'a row that goes is no sign of life');
});

void t.test(
  'a member that was removed from the swarm is forgotten, with its entries',
  async (t) => {
    const { tables, liveness, withdrawn } = setUp();
    liveness.disown('two');
    t.ok(tables.dropOwner('two'));
    t.same(tables.peers(), []);
    t.same(withdrawn, ['10.0.1.5']);
    t.notOk(liveness.isMemberAlive('two'));
    t.same(liveness.counts(), { reached: 0, others: 0 });
    t.notOk(tables.dropOwner('two'));
  },
);

void t.test('who is reached, by gossip or data path', async (t) => {
  const { liveness, pass, datapath } = setUp();
  t.same(liveness.counts(), { reached: 1, others: 1 });
  t.ok(liveness.isAnyReached(['192.0.2.9', TUNNEL]));
  t.notOk(liveness.isAnyReached([]));
  datapath.answering.add(TUNNEL);
  liveness.member(member('failed'));
  pass(2000);
  t.same(liveness.counts(), { reached: 1, others: 1 }, 'its agent alone is away');
  datapath.answering.clear();
  pass(2000);
  t.same(liveness.counts(), { reached: 0, others: 1 });
  t.notOk(liveness.isAnyReached([TUNNEL]));
  pass(FAILED_COUNTS_MS);
  t.same(liveness.counts(), { reached: 0, others: 0 }, 'not counted for ever');
});

void t.test('nodes that failed long ago get few echoes', async (t) => {
  const { tables, liveness, pass, datapath } = setUp();
  liveness.member(member('failed'));
  tables.apply(removal('owner-failed'));
  pass(FAILED_WATCH_MS + ECHO_PERIOD_MS);
  const before = datapath.calls.length;
  pass(10 * FAILED_WATCH_PERIODS * ECHO_PERIOD_MS);
  t.ok(datapath.calls.length - before <= 11, `${datapath.calls.length - before} calls`);
});

void t.test('explicit removals count at once; a stranger cannot remove', async (t) => {
  const { tables } = setUp();
  t.notOk(tables.apply(removal('deleted', 'three')), 'not the owner');
  t.equal(tables.peers().length, 1);
  t.ok(tables.apply(removal('owner-left')));
  t.same(tables.peers(), []);
});

void t.test('malformed entries are refused and counted', async (t) => {
  const { tables } = setUp();
  const entry = { ...peerEntry(), key: 'bad' };
  const sample = {
    ...{ name: 'a', serviceName: '', serviceId: '', virtualIp: '', endpointIp: '10.0.1.5' },
    ...{ ingressPorts: [], aliases: [], taskAliases: [], disabled: false },
  };
  const values: readonly (readonly [string, Uint8Array])[] = [
    [PEER_TABLE, new Uint8Array([0xff, 0xff])],
    [PEER_TABLE, new Uint8Array(1 << 16)],
    [PEER_TABLE, new Uint8Array()],
    [ENDPOINT_TABLE, encodeEndpoint({ ...sample, endpointIp: 'hello' })],
    [ENDPOINT_TABLE, encodeEndpoint({ ...sample, virtualIp: '::1' })],
    [ENDPOINT_TABLE, encodeEndpoint({ ...sample, name: 'x'.repeat(300) })],
    [ENDPOINT_TABLE, encodeEndpoint({ ...sample, aliases: Array<string>(200).fill('a') })],
  ];
  for (const [table, value] of values) t.notOk(tables.apply({ ...entry, table, value }));
  t.notOk(tables.apply({ ...entry, table: 'unknown_table' }));
  t.equal(tables.refused, values.length);
  t.equal(tables.peers().length, 1);
});
