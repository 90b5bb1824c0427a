/** Virtual addresses whose service has no task any more: they refuse, until somebody else has them. */
import t from 'tap';
import type { ServiceRow } from '../../src/native/datapath-types.js';
import type { DesiredDatapath } from '../../src/network/desired.js';
import { RETIRED_ADDRESSES_MAX } from '../../src/network/limits.js';
import { RetiredAddresses } from '../../src/network/retired-addresses.js';

const VNI = 4097;
const TASK = { vni: VNI, address: '10.0.1.5' };
const NETWORK = { vni: VNI, subnet: '10.0.0.0/8', gateway: '10.0.0.1', internal: false };

function desired(
  services: readonly ServiceRow[],
  more: Partial<DesiredDatapath> = {},
): DesiredDatapath {
  const rows = { nodes: [], remoteEndpoints: [], backends: [], networks: [NETWORK] };
  return { nodeId: undefined, ...rows, services, ...more };
}

const vip = (address: string): ServiceRow => ({
  key: { kind: 'vip', vni: VNI, address },
  backends: [TASK],
});
const VIP = vip('10.0.1.9');
const NOBODY: ReadonlySet<string> = new Set();

void t.test('stay without backends, until they are wanted again', async (t) => {
  const retired = new RetiredAddresses();
  t.same(retired.merge(desired([VIP]), NOBODY).services, [VIP]);
  t.same(retired.merge(desired([]), NOBODY).services, [{ ...VIP, backends: [] }]);
  t.same(retired.merge(desired([]), NOBODY).services.length, 1);
  t.same(retired.merge(desired([VIP]), NOBODY).services, [VIP]);
});

void t.test('go once somebody else has the address, or the network is gone', async (t) => {
  const remote = {
    ...{ vni: VNI, address: '10.0.1.9', mac: '02:42:0a:00:01:09', tunnelAddress: '192.0.2.2' },
  };
  for (const [more, taken] of [
    [{ remoteEndpoints: [remote] }, NOBODY],
    [{ networks: [] }, NOBODY],
    [{}, new Set([`${VNI}/10.0.1.9`])],
  ] as const) {
    const retired = new RetiredAddresses();
    retired.merge(desired([VIP]), NOBODY);
    t.same(retired.merge(desired([], more), taken).services, []);
    t.same(retired.merge(desired([]), NOBODY).services, [], 'for good');
  }
});

void t.test('not without bound', async (t) => {
  const retired = new RetiredAddresses();
  const many = Array.from({ length: RETIRED_ADDRESSES_MAX + 5 }, (_, index) =>
    vip(`10.1.${index >> 8}.${index & 255}`),
  );
  retired.merge(desired(many), NOBODY);
  const left = retired.merge(desired([]), NOBODY).services;
  t.equal(left.length, RETIRED_ADDRESSES_MAX);
  t.match(left[0]?.key, { address: '10.1.0.5' }, 'the oldest went');
});
