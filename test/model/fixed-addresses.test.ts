/** Ranges of addresses in labels, and which networks the labels mean. */
import t from 'tap';
import {
  addressCount,
  fixedAddresses,
  fixedAddressLabel,
  fixedVip,
  formatAddress,
  hasAddress,
  nthAddress,
  parseAddressRanges,
  reservedOf,
} from '../../src/model/fixed-addresses.js';
import { checkLabels } from '../../src/model/labels/check.js';
import { makeNetwork } from '../manager/simulation/objects.js';

void t.test('the nth of a list is in the order of the list', async (t) => {
  const ranges = parseAddressRanges('10.0.9.210-10.0.9.211, 10.0.9.7,10.0.9.192/31');
  if (ranges === undefined) throw new Error('does not parse');
  const nth = (n: number) => {
    const address = nthAddress(ranges, n);
    return address === undefined ? undefined : formatAddress(address);
  };
  t.same([1, 2, 3, 4, 5].map(nth), [
    '10.0.9.210',
    '10.0.9.211',
    '10.0.9.7',
    '10.0.9.192',
    '10.0.9.193',
  ]);
  t.same([0, 6, -1].map(nth), [undefined, undefined, undefined]);
  t.equal(addressCount(ranges), 5);
  t.ok(hasAddress(ranges, nthAddress(ranges, 3) ?? 0));
  t.notOk(hasAddress(ranges, (nthAddress(ranges, 3) ?? 0) + 1));
});

void t.test('what is malformed, or names an address twice, is refused', async (t) => {
  for (const text of [
    '',
    '10.0.9',
    '10.0.9.256',
    '10.0.9.9-10.0.9.1',
    '10.0.9.1-10.0.9.2-10.0.9.3',
    '10.0.9.0/33',
    'fd00::/64',
    '10.0.9.1,',
    '10.0.9.0/24,10.0.9.7',
    Array.from({ length: 65 }, (_, index) => `10.0.9.${index}`).join(),
  ]) {
    t.equal(parseAddressRanges(text), undefined, text);
    t.throws(() => checkLabels('network', { 'skep.reserved': text }), { code: 'invalid_argument' });
    const labels = { 'skep.addresses.net': text };
    t.throws(() => checkLabels('service', labels), { code: 'invalid_argument' });
  }
  t.throws(() => checkLabels('service', { 'skep.vip.net': '10.0.9.0/24' }), /not an IPv4 address/);
  t.throws(() => checkLabels('service', { 'skep.vip.': '10.0.9.1' }), /unknown label/);
  t.throws(() => checkLabels('service', { 'skep.vip.<network>': '10.0.9.1' }), /unknown label/);
  t.throws(() => checkLabels('node', { 'skep.vip.net': '10.0.9.1' }), /cannot be set on a node/);
});

void t.test('a network is meant by name, id, or its name in the stack', async (t) => {
  const labels = { 'skep.reserved': '10.0.9.8/29' };
  const network = makeNetwork('id1', { annotations: { name: 'shop_front', labels } });
  t.equal(addressCount(reservedOf(network)), 8);
  t.equal(addressCount(reservedOf(makeNetwork('id2'))), 0);
  const vip = (name: string, more: Record<string, string> = {}) => {
    const found = fixedVip({ [`skep.vip.${name}`]: '10.0.9.9', ...more }, network);
    return found === undefined ? undefined : formatAddress(found);
  };
  t.equal(vip('shop_front'), '10.0.9.9');
  t.equal(vip('id1'), '10.0.9.9');
  t.equal(vip('front'), undefined);
  t.equal(vip('front', { 'com.docker.stack.namespace': 'shop' }), '10.0.9.9');
  t.equal(vip('front', { 'com.docker.stack.namespace': 'other' }), undefined);
  t.equal(fixedAddresses({ 'skep.vip.id1': '10.0.9.9' }, network), undefined);
  t.same(fixedAddressLabel('skep.addresses.a-b'), { kind: 'addresses', network: 'a-b' });
});
