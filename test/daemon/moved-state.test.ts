/** What of a node's recorded addresses follows those that its host has now. */
import t from 'tap';
import { presentState } from '../../src/daemon/moved-state.js';
import type { NodeState } from '../../src/daemon/node-state.js';

type HostParts = Parameters<typeof presentState>[0];

const RECORDED: NodeState = {
  LocalAddr: '192.0.2.1',
  RemoteAddr: '192.0.2.9:2377',
  ListenAddr: '0.0.0.0:2377',
  AdvertiseAddr: '192.0.2.1:2377',
  DataPathAddr: '192.0.2.1',
  DataPathPort: 4789,
  DefaultAddressPool: [],
  SubnetSize: 0,
  Requested: { ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '', DataPathAddr: '' },
};

/** The host with these `interface address`. */
function host(...addresses: readonly string[]): HostParts {
  const own = addresses.map((text) => {
    const [interfaceName = '', address = ''] = text.split(' ');
    return { interfaceName, address };
  });
  const netlink = { addresses: () => own, routeTo: () => ({ source: own[0]?.address ?? '' }) };
  return { netlink, options: {} } as unknown as HostParts;
}

function requesting(requested: Partial<NonNullable<NodeState['Requested']>>): NodeState {
  return { ...RECORDED, Requested: { ...RECORDED.Requested, ...requested } as never };
}

void t.test('an address that the host chose itself', async (t) => {
  t.same(presentState(host('eth0 192.0.2.1'), RECORDED, true), RECORDED);
  const two = host('eth1 198.51.100.2', 'eth0 192.0.2.1');
  t.same(presentState(two, RECORDED, true), RECORDED, 'holds as long as the host has it');
  t.throws(() => presentState(host('eth0 192.0.2.7'), RECORDED, false), {
    code: 'failed_precondition',
    message: 'no interface of this host has the address 192.0.2.1: it may be there soon',
  });
  t.same(presentState(host('eth0 192.0.2.7'), RECORDED, true), {
    ...RECORDED,
    LocalAddr: '192.0.2.7',
    AdvertiseAddr: '192.0.2.7:2377',
    DataPathAddr: '192.0.2.7',
  });
  const founder = { ...RECORDED, RemoteAddr: '' };
  t.equal(presentState(host('eth0 192.0.2.7'), founder, true).LocalAddr, '192.0.2.7');
  const several = host('eth0 192.0.2.7', 'eth1 198.51.100.2');
  t.equal(presentState(several, founder, true), founder, 'nobody can tell which');
});

void t.test('an interface that the user named', async (t) => {
  const named = requesting({ AdvertiseAddr: 'eth1:2400', DataPathAddr: 'eth2' });
  const now = host('eth0 192.0.2.1', 'eth1 198.51.100.2', 'eth2 203.0.113.3');
  t.match(presentState(now, named, false), {
    LocalAddr: '198.51.100.2',
    AdvertiseAddr: '198.51.100.2:2400',
    DataPathAddr: '203.0.113.3',
  });
  t.equal(presentState(host('eth0 192.0.2.1'), named, true), named, 'without an address');
  const listening = requesting({ ListenAddr: 'eth0:2400' });
  t.match(presentState(host('eth0 192.0.2.5'), listening, true), {
    ListenAddr: '192.0.2.5:2400',
    AdvertiseAddr: '192.0.2.5:2400',
  });
});

void t.test('an address that was given, and states of before', async (t) => {
  const given = requesting({ AdvertiseAddr: '192.0.2.1', DataPathAddr: '192.0.2.1' });
  t.same(presentState(host('eth0 192.0.2.7'), given, true), given);
  const { Requested: _, ...before } = RECORDED;
  t.equal(presentState(host('eth0 192.0.2.7'), before, true), before);
});
