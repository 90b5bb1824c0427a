/**
 * Which address and port tunnels have.
 */
import t from 'tap';
import { resolveDataPathAddress, resolveDataPathPort } from '../../src/daemon/data-path.js';

const own = [
  { interfaceName: 'lo', address: '127.0.0.1' },
  { interfaceName: 'lo', address: '::1' },
  { interfaceName: 'docker0', address: '172.17.0.1' },
  { interfaceName: 'eth0', address: '192.0.2.1' },
  { interfaceName: 'eth0', address: 'fe80::1' },
  { interfaceName: 'eth0', address: 'fd00::1' },
  { interfaceName: 'eth1', address: '198.51.100.1' },
  { interfaceName: 'eth2', address: 'fd00:2::1' },
  { interfaceName: 'eth2', address: 'fd00:2::2' },
];

function resolve(value: string, family?: 'ipv4' | 'ipv6', advertised = '192.0.2.1'): string {
  return resolveDataPathAddress({ value, advertised, own }, family);
}

void t.test('of the node that founds a swarm', async (t) => {
  t.equal(resolve(''), '192.0.2.1', 'the advertised one');
  t.equal(resolve('', undefined, '127.0.0.1'), '192.0.2.1', 'not the host alone');
  t.equal(resolve('eth1'), '198.51.100.1');
  t.equal(resolve('eth0'), '192.0.2.1', 'IPv4 where an interface has both');
  t.equal(resolve('FD00:0::1'), 'fd00::1');
  t.throws(() => resolve('eth2'), {
    message: 'interface eth2 has more than one IPv6 address (fd00:2::1 and fd00:2::2)',
  });
  for (const value of ['127.0.0.1', '::1', 'fe80::1', 'ff02::1', '::ffff:c000:201'])
    t.throws(() => resolve(value), { message: /not one that other nodes can reach/ }, value);
  t.throws(() => resolve('lo'), { message: 'data path interface lo is this host alone' });
  for (const value of ['0.0.0.0', '::', '192.0.2.1:5', 'eth9'])
    t.throws(() => resolve(value), { message: /must be a non-zero IP address/ }, value);
  for (const value of ['192.0.2.9', 'fd00::9'])
    t.throws(
      () => resolve(value),
      { message: `no interface of this host has the data path address ${value}` },
      value,
    );
  t.throws(() => resolve('', undefined, '203.0.113.1'), {
    message: /no interface of this host has the address 203.0.113.1: give one .*--data-path-addr/,
  });
});

void t.test('of a node that joins, in the family of the swarm', async (t) => {
  t.equal(resolve('', 'ipv4'), '192.0.2.1');
  t.equal(resolve('', 'ipv6'), 'fd00::1', 'on the interface of the advertised one');
  t.equal(resolve('eth0', 'ipv6'), 'fd00::1');
  t.equal(resolve('fd00::1', 'ipv6'), 'fd00::1');
  t.throws(() => resolve('', 'ipv6', '198.51.100.1'), {
    message: /this swarm is of IPv6, .* interface eth1 is not: give an IPv6 address/,
  });
  t.throws(() => resolve('192.0.2.1', 'ipv6'), { message: /is of IPv6, .* 192.0.2.1 is not/ });
  t.throws(() => resolve('fd00::1', 'ipv4'), { message: /is of IPv4, .* fd00::1 is not/ });
});

void t.test('port', async (t) => {
  t.equal(resolveDataPathPort(0), 4789);
  t.equal(resolveDataPathPort(7789), 7789);
  for (const port of [7946, 7947, 7948, 7949])
    t.throws(() => resolveDataPathPort(port), { message: /used by the swarm itself/ });
  t.throws(() => resolveDataPathPort(1023), {
    code: 'unknown',
    message: 'Datapath port number is not in valid range (1024-49151) : 1023',
  });
});
