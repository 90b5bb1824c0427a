/** Which interfaces tunnels go through, as routes change; in the kernel: test/native/datapath/underlay.test.ts. */
import t from 'tap';
import { RecordingDatapath } from '../../src/native/recording-datapath.js';
import { ROUTES_PER_TURN } from '../../src/network/limits.js';
import { Underlay } from '../../src/network/underlay.js';
import { createLogger } from '../../src/observe/logger.js';

const OWN = '192.0.2.1';

function setUp() {
  const datapath = new RecordingDatapath();
  const routes = new Map<string, string>();
  const asked: string[] = [];
  const underlay = new Underlay({
    ...{ datapath, ownAddresses: [OWN], logger: createLogger({ level: 'fatal' }) },
    netlink: {
      addresses: () => [
        { interfaceName: 'eth0', address: OWN, prefixLength: 24 },
        { interfaceName: 'eth7', address: '198.51.100.1', prefixLength: 24 },
      ],
      routeTo: (address) => {
        asked.push(address);
        const interfaceName = routes.get(address);
        if (interfaceName === undefined) throw new Error('ENETUNREACH');
        return { interfaceName, source: OWN, mtu: 1500 };
      },
    },
  });
  const follow = (...tunnels: string[]) =>
    underlay.follow(tunnels.map((tunnelAddress) => ({ tunnelAddress })));
  return { datapath, routes, asked, underlay, follow };
}

void t.test('own addresses and routes decide', async (t) => {
  const { datapath, routes, underlay, follow } = setUp();
  underlay.look();
  t.same(datapath.underlay, ['eth0'], 'not every interface there is');
  routes.set('a', 'eth1').set('b', 'sw-h0').set('c', 'lo');
  t.equal(follow('a', 'b', 'c', 'unreachable'), true);
  t.same(datapath.underlay, ['eth0', 'eth1'], 'never our own devices');
  t.equal(follow('a', 'b', 'c', 'unreachable'), false);
  routes.set('a', 'eth2');
  t.equal(underlay.look(), true);
  t.same(datapath.underlay, ['eth0', 'eth2']);
  routes.delete('a');
  underlay.look();
  t.same(datapath.underlay, ['eth0'], 'no route');
  routes.set('a', 'eth1');
  underlay.look();
  follow('b');
  underlay.look();
  t.same(datapath.underlay, ['eth0'], 'a node that is gone');
});

void t.test('many nodes: a bounded number of looks, in turn, new ones first', async (t) => {
  const { routes, asked, underlay, follow } = setUp();
  const tunnels = Array.from({ length: 3 * ROUTES_PER_TURN }, (_, index) => `t${index}`);
  for (const tunnel of tunnels) routes.set(tunnel, 'eth1');
  follow(...tunnels);
  t.equal(asked.length, ROUTES_PER_TURN);
  underlay.look();
  underlay.look();
  t.same([...asked].sort(), [...tunnels].sort(), 'each once');
  asked.length = 0;
  follow(...tunnels, 'new');
  t.equal(asked[0], 'new');
});
