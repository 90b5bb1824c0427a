/** IP prefixes: parsing, printing and overlap. */
import t from 'tap';
import {
  firstAddress,
  formatIpv4,
  type IpPrefix,
  lastAddress,
  overlaps,
  parseIpPrefix,
} from '../../src/model/ip-prefix.js';

function prefix(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  if (parsed === undefined) throw new Error(`${text} does not parse`);
  return parsed;
}

void t.test('parsing', async (t) => {
  const subnet = prefix('10.1.2.3/24');
  t.equal(formatIpv4(firstAddress(subnet)), '10.1.2.0');
  t.equal(formatIpv4(lastAddress(subnet)), '10.1.2.255');
  t.equal(prefix('fd00::1/64').address, (0xfdn << 120n) | 1n);
  t.equal(prefix('::/0').address, 0n);
  for (const text of [
    '',
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0/8',
    '10.0.0.256/8',
    '10.0.0.01/8',
    '10.0.0.0/8/8',
    '10.0.0.0/-1',
    'fd00::1::2/64',
    '1:2:3:4:5:6:7/64',
    '1:2:3:4:5:6:7:8:9/64',
    'g::/64',
  ]) {
    t.equal(parseIpPrefix(text), undefined, text);
  }
});

void t.test('overlap', async (t) => {
  t.ok(overlaps(prefix('10.0.0.0/8'), prefix('10.200.0.0/24')));
  t.ok(overlaps(prefix('10.0.1.0/24'), prefix('10.0.1.128/25')));
  t.notOk(overlaps(prefix('10.0.1.0/24'), prefix('10.0.2.0/24')));
  t.notOk(overlaps(prefix('0.0.0.0/0'), prefix('::/0')));
});
