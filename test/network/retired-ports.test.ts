/** Ports that were published: their rows stay for connections that go on, within bounds. */
import t from 'tap';
import type { ServiceRow } from '../../src/native/datapath-types.js';
import type { DesiredDatapath } from '../../src/network/desired.js';
import { RETIRED_PORT_MS, RETIRED_PORTS_MAX } from '../../src/network/limits.js';
import { RetiredPorts } from '../../src/network/retired-ports.js';

const BACKEND = { vni: 4096, address: '10.0.0.5' };

function desired(services: readonly ServiceRow[], backends = [BACKEND]): DesiredDatapath {
  const none = { nodes: [], networks: [], remoteEndpoints: [] };
  const rows = backends.map((place) => ({ ...place, state: 'active' as const }));
  return { nodeId: undefined, ...none, backends: rows, services };
}

const published = (port: number): ServiceRow => ({
  key: { kind: 'published', protocol: 'tcp', port },
  targetPort: 80,
  backends: [BACKEND],
});

const LANDING: ServiceRow = {
  key: { kind: 'landing', ...BACKEND, protocol: 'tcp', port: 8000 },
  targetPort: 80,
  backends: [],
};

void t.test('a row that vanishes stays without backends, until it is wanted again', async (t) => {
  const retired = new RetiredPorts({ monotonicMs: () => 0 });
  t.same(retired.merge(desired([published(8000)])).services, [published(8000)]);
  t.same(retired.merge(desired([])).services, [
    { ...published(8000), backends: [], retired: true },
  ]);
  t.same(retired.merge(desired([])).services.length, 1);
  t.same(retired.merge(desired([published(8000)])).services, [published(8000)]);
});

void t.test('virtual addresses do not stay, landings go with their backend', async (t) => {
  const retired = new RetiredPorts({ monotonicMs: () => 0 });
  const vip: ServiceRow = { key: { kind: 'vip', vni: 4097, address: '10.0.1.9' }, backends: [] };
  retired.merge(desired([vip, LANDING]));
  t.same(retired.merge(desired([])).services, [{ ...LANDING, retired: true }]);
  t.same(retired.merge(desired([], [])).services, []);
});

void t.test('not for ever, and not without bound', async (t) => {
  let nowMs = 0;
  const retired = new RetiredPorts({ monotonicMs: () => nowMs });
  const ports = Array.from({ length: RETIRED_PORTS_MAX + 5 }, (_, index) => published(1 + index));
  retired.merge(desired(ports));
  const left = retired.merge(desired([])).services;
  t.equal(left.length, RETIRED_PORTS_MAX);
  t.match(left[0]?.key, { port: 6 }, 'the oldest went');
  nowMs = RETIRED_PORT_MS;
  t.equal(retired.merge(desired([])).services.length, 0);
});

void t.test('a range that went hides none that is wanted', async (t) => {
  const retired = new RetiredPorts({ monotonicMs: () => 0 });
  const range = (port: number, ports: number) => ({ ...published(port), ports });
  retired.merge(desired([range(25_000, 1000)]));
  t.same(retired.merge(desired([range(20_000, 100)])).services.length, 2, 'nothing in common');
  const wide = range(20_000, 10_000);
  t.same(retired.merge(desired([wide])).services, [wide]);
});
