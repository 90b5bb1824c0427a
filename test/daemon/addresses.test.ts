/**
 * Listen, advertise and data path addresses: Docker's rules and texts.
 */
import t from 'tap';
import {
  resolveAddressPools,
  resolveAdvertiseAddress,
  resolveListenAddress,
  splitHostPort,
} from '../../src/daemon/addresses.js';

const one = [{ interfaceName: 'eth0', address: '192.0.2.1' }];
const two = [...one, { interfaceName: 'eth1', address: '198.51.100.1' }];
const twin = [...one, { interfaceName: 'eth0', address: '192.0.2.2' }];

void t.test('host and port are taken apart', async (t) => {
  t.same(splitHostPort('192.0.2.1', 2377), { host: '192.0.2.1', port: 2377 });
  t.same(splitHostPort('eth0:99', 2377), { host: 'eth0', port: 99 });
  t.same(splitHostPort('[2001:db8::1]:99', 2377), { host: '2001:db8::1', port: 99 });
  t.same(splitHostPort('2001:db8::1', 2377), { host: '2001:db8::1', port: 2377 });
  t.equal(splitHostPort('192.0.2.1:0', 2377), undefined);
  t.equal(splitHostPort('192.0.2.1:65536', 2377), undefined);
  t.equal(splitHostPort('a:b:c', 2377), undefined);
});

void t.test('listen address', async (t) => {
  t.same(resolveListenAddress('', one), { host: '0.0.0.0', port: 2377 });
  t.same(resolveListenAddress('eth0:7000', one), { host: '192.0.2.1', port: 7000 });
  t.throws(() => resolveListenAddress('nonsense', one), {
    code: 'invalid_argument',
    message:
      'listen address must be an IP address or network interface (with optional port number)',
  });
  t.throws(() => resolveListenAddress('eth0', twin), {
    message: 'interface eth0 has more than one IPv4 address (192.0.2.1 and 192.0.2.2)',
  });
});

void t.test('advertise address', async (t) => {
  const any = { host: '0.0.0.0', port: 2377 };
  t.same(resolveAdvertiseAddress('', any, one), { host: '192.0.2.1', port: 2377 });
  t.same(resolveAdvertiseAddress('203.0.113.9', any, two), { host: '203.0.113.9', port: 2377 });
  t.same(resolveAdvertiseAddress('', { host: '198.51.100.1', port: 1 }, two), {
    host: '198.51.100.1',
    port: 1,
  });
  t.throws(() => resolveAdvertiseAddress('0.0.0.0', any, one), {
    message: /must be a non-zero IP/,
  });
  t.throws(() => resolveAdvertiseAddress('', any, two), {
    message:
      /multiple addresses on different interfaces \(192.0.2.1 on eth0 and 198.51.100.1 on eth1\)/,
  });
  t.throws(() => resolveAdvertiseAddress('', any, twin), {
    message: /multiple addresses on interface eth0 \(192.0.2.1 and 192.0.2.2\)/,
  });
  t.throws(() => resolveAdvertiseAddress('', any, []), {
    message: "could not find the system's IP address",
  });
});

void t.test('address pools', async (t) => {
  t.same(resolveAddressPools([], 0), { pools: ['10.0.0.0/8'], subnetSize: 24 });
  t.same(resolveAddressPools(['10.9.0.0/16'], 26), { pools: ['10.9.0.0/16'], subnetSize: 26 });
  t.throws(() => resolveAddressPools([], 30), { message: 'subnet size is out of range: 30' });
  t.throws(() => resolveAddressPools(['10.9.0.0/28'], 24), {
    message: 'invalid CIDR: "10.9.0.0/28". Subnet size is too small for pool: 24',
  });
  t.throws(() => resolveAddressPools(['nonsense'], 24), { code: 'unknown' });
});
