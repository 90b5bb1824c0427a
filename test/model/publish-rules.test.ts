/** The skep.publish labels: what they may say, and how rules of several services compare. */
import t from 'tap';
import { checkLabels } from '../../src/model/labels/check.js';
import {
  commonNetworks,
  LOOPBACK_SCOPE,
  networksBytes,
  parseNetworks,
  parseScope,
  publishRules,
  samePublishRules,
  scopesOverlap,
} from '../../src/model/publish-rules.js';

void t.test('scopes in canonical text', async (t) => {
  t.equal(parseScope('192.168.77.11'), '192.168.77.11');
  t.equal(parseScope('FD00:0::1'), 'fd00::1');
  t.equal(parseScope('eth0'), 'eth0');
  for (const text of ['lo', '127.0.0.1', '127.0.0.9', '::1']) {
    t.equal(parseScope(text), LOOPBACK_SCOPE, text);
  }
  const wrong = [
    '',
    '0.0.0.0',
    '::',
    '224.0.0.1',
    'ff02::1',
    'fe80::1',
    '192.168.77',
    '192.168.77.11/24',
  ];
  for (const text of [...wrong, 'a b', 'eth0/1', '1234', 'a-name-of-16-chr', '10.0.0.256']) {
    t.equal(parseScope(text), undefined, text);
  }
});

void t.test('networks in canonical text', async (t) => {
  t.same(parseNetworks('192.0.2.77/24, 10.0.0.1'), ['10.0.0.1/32', '192.0.2.0/24']);
  t.same(parseNetworks('2001:DB8:0:0::1/32,::/0'), ['2001:db8::/32', '::/0']);
  t.same(parseNetworks('0.0.0.0/0'), ['0.0.0.0/0']);
  for (const text of ['', ',', '10.0.0.0/33', 'fe80::/129', 'eth0', '10.0.0.0/8,', '10.0.0/8']) {
    t.equal(parseNetworks(text), undefined, text);
  }
  t.equal(networksBytes(['10.0.0.0/8', '::/0']), 22);
});

void t.test('the label table refuses what cannot be meant', async (t) => {
  const check = (key: string, value: string) => () => checkLabels('service', { [key]: value });
  t.doesNotThrow(check('skep.publish.8000.address', 'eth1'));
  t.doesNotThrow(check('skep.publish.65535.allow', '10.0.0.0/8'));
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['skep.publish.8000.address', '0.0.0.0', /neither an address of a host nor an interface name/],
    ['skep.publish.8000.allow', '10.0.0.0/40', /not a list of networks such as 192.0.2.0\/24/],
    ['skep.publish.0.allow', '10.0.0.0/8', /unknown label/],
    ['skep.publish.65536.allow', '10.0.0.0/8', /unknown label/],
    ['skep.publish.80.deny', '10.0.0.0/8', /unknown label/],
    ['skep.publish.<port>.allow', '10.0.0.0/8', /unknown label/],
  ];
  for (const [key, value, message] of refused) t.throws(check(key, value), { message }, key);
  t.throws(() => checkLabels('network', { 'skep.publish.80.allow': '10.0.0.0/8' }), {
    message: /cannot be set on a network/,
  });
});

void t.test('rules by port', async (t) => {
  const labels = { 'skep.publish.80.address': 'lo', 'skep.publish.80.allow': '10.1.2.3/8', x: 'y' };
  t.same([...publishRules(labels)], [[80, { scope: 'lo', allow: ['10.0.0.0/8'] }]]);
  t.ok(samePublishRules(labels, { ...labels, 'skep.publish.80.allow': '10.0.0.0/8' }));
  t.notOk(samePublishRules(labels, undefined));
  const wrong = { 'skep.publish.80.address': '10.0.0', 'skep.publish.80.allow': 'all' };
  t.same([...publishRules(wrong)], [[80, { scope: 'lo', allow: [] }]], 'closed rather than open');
});

void t.test('which scopes may mean the same address', async (t) => {
  t.ok(scopesOverlap(undefined, '10.0.0.1'));
  t.ok(scopesOverlap('10.0.0.1', '10.0.0.1'));
  t.ok(scopesOverlap('10.0.0.1', 'eth0'), 'only the node knows');
  t.notOk(scopesOverlap('10.0.0.1', '10.0.0.2'));
  t.notOk(scopesOverlap('eth0', 'eth1'));
  t.notOk(scopesOverlap('lo', 'eth1'));
});

void t.test('networks that two lists share', async (t) => {
  t.same(commonNetworks(['10.0.0.0/8', '192.0.2.0/24'], ['10.9.0.0/16']), ['10.9.0.0/16']);
  t.same(commonNetworks(undefined, ['10.9.0.0/16']), ['10.9.0.0/16']);
  t.equal(commonNetworks(undefined, undefined), undefined);
  t.same(commonNetworks(['10.0.0.0/8'], ['fd00::/8']), []);
});
