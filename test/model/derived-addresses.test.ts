/** The IPv6 addresses that follow from IPv4 ones, and the text form of IPv6 addresses. */
import { isIPv6, SocketAddress } from 'node:net';
import * as fc from 'fast-check';
import t from 'tap';
import { deriveIpv6, hasRoom, ingressSubnet6 } from '../../src/model/derived-addresses.js';
import { formatIpv6, parseIpPrefix } from '../../src/model/ip-prefix.js';

void t.test('the host number is the interface id', (t) => {
  const subnets = { subnet: '10.0.1.0/24', subnet6: 'fd00:77::/64' };
  t.equal(deriveIpv6(subnets, '10.0.1.11'), 'fd00:77::b');
  t.equal(deriveIpv6(subnets, '10.0.1.1'), 'fd00:77::1');
  t.equal(deriveIpv6({ ...subnets, subnet: '10.0.0.0/16' }, '10.0.1.2'), 'fd00:77::102');
  t.equal(
    deriveIpv6({ subnet: '10.0.0.0/24', subnet6: 'fd00::ff00/120' }, '10.0.0.7'),
    'fd00::ff07',
  );
  t.throws(() => deriveIpv6(subnets, 'fd00::1'), { code: 'invalid_argument' });
  t.throws(() => deriveIpv6({ ...subnets, subnet6: '10.0.0.0/8' }, '10.0.1.1'));
  t.end();
});

void t.test('room for every host number', (t) => {
  t.ok(hasRoom({ subnet: '10.0.1.0/24', subnet6: 'fd00::/64' }));
  t.ok(hasRoom({ subnet: '10.0.1.0/24', subnet6: 'fd00::/120' }));
  t.notOk(hasRoom({ subnet: '10.0.1.0/24', subnet6: 'fd00::/121' }));
  t.notOk(hasRoom({ subnet: '10.0.0.0/16', subnet6: 'fd00::/120' }));
  t.end();
});

void t.test('the ingress subnet is unique local, stable, and differs between networks', (t) => {
  const subnet = ingressSubnet6('q2c1s5b8o0m3x7v9');
  t.match(subnet, /^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
  t.equal(ingressSubnet6('q2c1s5b8o0m3x7v9'), subnet);
  t.not(ingressSubnet6('another'), subnet);
  t.end();
});

void t.test('IPv6 text is what Node.js makes of it', (t) => {
  const group = fc.oneof(fc.constant(0n), fc.bigInt(0n, 0xffffn));
  fc.assert(
    fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
      const value = groups.reduce((sum, each) => (sum << 16n) | each, 0n);
      const text = formatIpv6(value);
      t.equal(parseIpPrefix(`${text}/128`)?.address, value);
      // The platform writes the last 32 bits of some addresses as IPv4; those are not compared.
      const theirs = new SocketAddress({ address: text, family: 'ipv6' }).address;
      return isIPv6(text) && (theirs.includes('.') || theirs === text);
    }),
  );
  t.end();
});
