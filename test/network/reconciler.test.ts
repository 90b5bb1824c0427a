/**
 * The reconciler against a recording data path, and what it keeps of a former process.
 */
import { array, assert, integer, property, uniqueArray } from 'fast-check';
import t from 'tap';
import type { Clock } from '../../src/model/environment.js';
import { silentLogger } from '../../src/observe/logger.js';
import type { BackendRow, ServiceRow } from '../../src/native/datapath-types.js';
import { RecordingDatapath } from '../../src/native/recording-datapath.js';
import type { DesiredDatapath } from '../../src/network/desired.js';
import { PinnedRows } from '../../src/network/pinned.js';
import { Reconciler } from '../../src/network/reconciler.js';
import { Repairer } from '../../src/network/repairer.js';

const EMPTY: DesiredDatapath = {
  nodeId: '10.0.0.2',
  nodes: [],
  networks: [],
  remoteEndpoints: [],
  backends: [],
  services: [],
};

const NETWORK = { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', internal: false };

/** A service on 10.0.1.9 with backends 10.0.1.<n> behind tunnels 192.0.2.<n>. */
function service(...numbers: readonly number[]): DesiredDatapath {
  const backends = numbers.map((n): BackendRow => {
    return { vni: 4097, address: `10.0.1.${n}`, state: 'active', tunnelAddress: `192.0.2.${n}` };
  });
  const row: ServiceRow = {
    key: { kind: 'vip', vni: 4097, address: '10.0.1.9' },
    backends: backends.map(({ vni, address }) => ({ vni, address })),
  };
  return { ...EMPTY, networks: [NETWORK], backends, services: [row] };
}

function addresses(datapath: RecordingDatapath): string[] {
  const { services } = datapath.dump();
  return services.flatMap((row) => row.backends.map((backend) => backend.address));
}

void t.test('writes only differences, named rows first', async (t) => {
  const datapath = new RecordingDatapath();
  const reconciler = new Reconciler(datapath);
  t.same(reconciler.apply(service(5, 6)), { written: 4, removed: 0 });
  t.same(datapath.calls, ['setNodeId 10.0.0.2', 'putNetworks 1', 'putBackends 2', 'putServices 1']);
  t.same(reconciler.apply(service(6, 5)), { written: 0, removed: 0 }, 'order does not matter');
  datapath.calls.length = 0;
  reconciler.apply(service(6, 7));
  t.same(datapath.calls, ['putBackends 1', 'putServices 1', 'removeBackends 1']);
  datapath.calls.length = 0;
  reconciler.apply(EMPTY);
  t.same(datapath.calls, ['removeServices 1', 'removeBackends 2', 'removeNetworks 1']);
});

void t.test('reads back what is in force after a failed write', async (t) => {
  const datapath = new RecordingDatapath();
  const reconciler = new Reconciler(datapath);
  const putServices = datapath.putServices.bind(datapath);
  datapath.putServices = () => {
    throw new Error('service table is full');
  };
  t.throws(() => reconciler.apply(service(5)), { message: 'service table is full' });
  datapath.putServices = putServices;
  datapath.calls.length = 0;
  t.same(reconciler.apply(service(5)), { written: 1, removed: 0 });
  t.same(datapath.calls, ['putServices 1']);
});

void t.test('any sequence of wanted states ends in the last one, with valid steps', async (t) => {
  const states = array(uniqueArray(integer({ min: 2, max: 8 })), { maxLength: 8 });
  const check = () =>
    assert(
      property(states, (sequence) => {
        const datapath = new RecordingDatapath();
        const reconciler = new Reconciler(datapath);
        for (const numbers of sequence) reconciler.apply(service(...numbers));
        const wanted = (sequence.at(-1) ?? []).map((n) => `10.0.1.${n}`);
        return addresses(datapath).sort().join() === wanted.sort().join();
      }),
    );
  t.doesNotThrow(check);
});

void t.test('leftovers stay while they may, and go for good', async (t) => {
  const datapath = new RecordingDatapath();
  new Reconciler(datapath).apply(service(5, 6));
  const pinned = new PinnedRows(datapath.dump());
  const reconciler = new Reconciler(datapath);
  reconciler.apply(pinned.merge(EMPTY, () => true));
  t.same(addresses(datapath), ['10.0.1.5', '10.0.1.6'], 'nothing known yet: all stays');
  reconciler.apply(pinned.merge(service(5), () => true));
  t.same(addresses(datapath).sort(), ['10.0.1.5', '10.0.1.6'], 'one is announced again');
  reconciler.apply(pinned.merge(service(5, 7), () => true));
  t.same(addresses(datapath).sort(), ['10.0.1.5', '10.0.1.6', '10.0.1.7'], 'a new one joins');
  pinned.forget({ vni: 4097, address: '10.0.1.6' });
  reconciler.apply(pinned.merge(service(5, 7), () => true));
  t.same(addresses(datapath).sort(), ['10.0.1.5', '10.0.1.7'], 'an explicit withdrawal counts');
  t.ok(pinned.empty);
  reconciler.apply(pinned.merge(service(7), () => true));
  t.same(addresses(datapath), ['10.0.1.7'], 'no longer a leftover: goes as usual');
});

void t.test('after settling only tunnels that answer are kept', async (t) => {
  const datapath = new RecordingDatapath();
  new Reconciler(datapath).apply(service(5, 6));
  const pinned = new PinnedRows(datapath.dump());
  const reconciler = new Reconciler(datapath);
  reconciler.apply(pinned.merge(EMPTY, (tunnel) => tunnel === '192.0.2.6'));
  t.same(addresses(datapath), ['10.0.1.6']);
  t.equal(datapath.dump().networks.length, 1, 'its network stays with it');
  reconciler.apply(pinned.merge(EMPTY, () => false));
  t.same(datapath.dump().services, []);
  t.same(datapath.dump().networks, []);
  t.ok(pinned.empty);
});

void t.test('repairs what somebody else changed', async (t) => {
  const datapath = new RecordingDatapath();
  const reconciler = new Reconciler(datapath);
  t.same(reconciler.repair(), { written: 0, removed: 0 }, 'nothing is wanted yet');
  reconciler.apply(service(5, 6));
  t.same(reconciler.repair(), { written: 0, removed: 0 }, 'all is well');
  datapath.removeServices([{ kind: 'vip', vni: 4097, address: '10.0.1.9' }]);
  datapath.removeBackends([{ vni: 4097, address: '10.0.1.5' }]);
  datapath.putNodes([{ nodeId: '10.0.0.9', tunnelAddress: '192.0.2.99' }]);
  t.same(reconciler.repair(), { written: 2, removed: 1 });
  t.same(addresses(datapath), ['10.0.1.5', '10.0.1.6']);
  t.same(datapath.dump().nodes, [], 'a stranger is put out again');
});

void t.test('the repairer counts, and takes its time with large tables', async (t) => {
  const datapath = new RecordingDatapath();
  const reconciler = new Reconciler(datapath);
  reconciler.apply(service(5));
  let nowMs = 1000;
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    setTimer: () => ({ cancel: () => undefined }),
  };
  const link = { interfaceName: 'c1', vni: 4097, address: '10.0.1.5', mac: '02:42:0a:00:01:05' };
  const repairer = new Repairer({
    ...{ reconciler, datapath, clock, logger: silentLogger },
    links: () => [link],
  });
  await repairer.turn();
  t.same(repairer.counts, { rows: 0, links: 1, parts: 0, rules: 0 });
  t.same(datapath.links(), [link]);
  datapath.removeNetworks([4097]);
  const dump = datapath.dump.bind(datapath);
  datapath.dump = () => {
    nowMs += 200;
    return dump();
  };
  nowMs += 5000;
  await repairer.turn();
  t.same(repairer.counts, { rows: 1, links: 1, parts: 0, rules: 0 });
  datapath.removeNetworks([4097]);
  nowMs += 5000;
  await repairer.turn();
  t.equal(repairer.counts.rows, 1, 'a comparison of 200 ms is followed by 10 s of rest');
  nowMs += 5000;
  await repairer.turn();
  t.equal(repairer.counts.rows, 2);
});
