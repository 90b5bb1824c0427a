/**
 * Which addresses a name means for whom, as tables.
 */
import t from 'tap';
import {
  lookUp,
  lookUpPointer,
  type NameRow,
  NetworkNames,
} from '../../../src/network/dns/names.js';
import type { NetworkInfo } from '../../../src/network/network-info.js';
import type { EndpointView } from '../../../src/network/view.js';
import { nameTables } from '../support/name-tables.js';

function network(id: string, name: string, ingress = false) {
  const info: NetworkInfo = {
    ...{ id, name, subnets: [], internal: false, attachable: false, ingress, encrypted: false },
  };
  return { info, nodeAddresses: [] };
}

function endpoint(
  networkId: string,
  endpointIp: string,
  more: Partial<EndpointView>,
): EndpointView {
  return {
    ...{ networkId, key: endpointIp, owner: 'n2', name: '', serviceName: '', serviceId: '' },
    ...{ virtualIp: '', endpointIp, ingressPorts: [], aliases: [], taskAliases: [] },
    disabled: false,
    ...more,
  };
}

const web = { serviceName: 'Web', serviceId: 'w', virtualIp: '10.0.1.9', aliases: ['www'] };
const rr = { serviceName: 'rr', serviceId: 'r' };

const tables = nameTables(
  [network('1', 'front'), network('2', 'lab.net'), network('0', 'ingress', true)],
  [
    endpoint('1', '10.0.1.5', { ...web, name: 'web.1.abc', taskAliases: ['0123456789ab', 'box'] }),
    endpoint('1', '10.0.1.6', { ...web, name: 'web.2.def' }),
    endpoint('1', '10.0.1.7', { ...web, name: 'web.3.ghi', disabled: true }),
    endpoint('1', '10.0.1.11', { ...rr, name: 'rr.1.x' }),
    endpoint('1', '10.0.1.12', { ...rr, name: 'rr.2.y' }),
    endpoint('2', '10.0.2.5', { name: 'plain' }),
    endpoint('2', '10.0.2.6', { ...web, virtualIp: '10.0.2.9', name: 'web.1.abc' }),
    endpoint('0', '10.0.0.5', { ...web, virtualIp: '10.0.0.9', name: 'hidden' }),
  ],
);
const front = [...tables.values()].filter((table) => table.networkName === 'front');
const all = [...tables.values()];

const CASES: readonly (readonly [string, string, readonly string[] | undefined])[] = [
  ['service', 'web', ['10.0.1.9']],
  ['case does not matter', 'WEB.', ['10.0.1.9']],
  ['service alias', 'www', ['10.0.1.9']],
  ['tasks of a service, without the draining', 'tasks.web', ['10.0.1.5', '10.0.1.6']],
  ['tasks of an alias', 'tasks.www', ['10.0.1.5', '10.0.1.6']],
  ['dnsrr service', 'rr', ['10.0.1.11', '10.0.1.12']],
  ['tasks of a dnsrr service', 'tasks.rr', ['10.0.1.11', '10.0.1.12']],
  ['task name', 'web.1.abc', ['10.0.1.5']],
  ['short container id', '0123456789ab', ['10.0.1.5']],
  ['host name', 'box', ['10.0.1.5']],
  ['qualified with the network', 'web.front', ['10.0.1.9']],
  ['task name qualified', 'web.1.abc.front', ['10.0.1.5']],
  ['draining task', 'web.3.ghi', undefined],
  ['a name of another network', 'plain', undefined],
  ['another network by suffix', 'plain.lab.net', undefined],
  ['names on ingress do not exist', 'hidden', undefined],
  ['unknown', 'example.com', undefined],
  ['empty', '.', undefined],
];

void t.test('IPv6 addresses are those of the same members', async (t) => {
  const subnets = [
    { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', subnet6: 'fd00:1::/64' },
  ];
  const dual = network('1', 'front');
  const [table] = nameTables(
    [{ ...dual, info: { ...dual.info, subnets } }],
    [endpoint('1', '10.0.1.5', { ...web, name: 'web.1.abc' }), endpoint('1', '10.0.1.6', web)],
  ).values();
  if (table === undefined) throw new Error('no table');
  t.same([...(lookUp([table], 'web', 6) ?? [])], ['fd00:1::9']);
  t.same([...(lookUp([table], 'tasks.web', 6) ?? [])], ['fd00:1::5', 'fd00:1::6']);
  t.same([...(lookUp(front, 'web', 6) ?? ['none'])], [], 'known, but without IPv6');
  t.equal(lookUp([table], 'example.com', 6), undefined);
  const pointerTo = (digit: string): string =>
    `${digit}.${'0.'.repeat(23)}1.0.0.0.0.0.D.f.ip6.arpa`;
  t.equal(lookUpPointer([table], pointerTo('5')), 'web.1.abc.front');
  t.equal(lookUpPointer([table], pointerTo('9')), undefined, 'virtual addresses have none');
  t.equal(lookUpPointer([table], pointerTo('5').slice(2)), undefined, 'a digit too few');
});

void t.test('names on one network', async (t) => {
  for (const [name, question, answer] of CASES) {
    const found = lookUp(front, question);
    t.same(found === undefined ? undefined : [...found].sort(), answer, name);
  }
});

void t.test('names on several networks', async (t) => {
  t.same([...(lookUp(all, 'web') ?? [])], ['10.0.1.9'], 'the first network wins');
  t.same([...(lookUp(all, 'web.lab.net') ?? [])], ['10.0.2.9']);
  t.same([...(lookUp(all, 'plain') ?? [])], ['10.0.2.5']);
});

void t.test('pointers', async (t) => {
  t.equal(lookUpPointer(front, '5.1.0.10.in-addr.arpa'), 'web.1.abc.front');
  t.equal(lookUpPointer(front, '9.1.0.10.in-addr.arpa'), undefined, 'virtual addresses have none');
  t.equal(lookUpPointer(front, '5.2.0.10.in-addr.arpa'), undefined, 'not on this network');
  t.equal(lookUpPointer(front, 'web'), undefined);
});

void t.test('rows come and go one by one, and leave nothing behind', async (t) => {
  const subnets = [{ subnet: '10.0.1.0/24', subnet6: 'fd00:1::/64' }];
  const table = new NetworkNames({ id: '1', name: 'front', internal: false, subnets });
  const row = (key: string, host: number, more: Partial<NameRow> = {}): NameRow => ({
    ...{ key, name: `web.${key}`, serviceName: 'web', aliases: ['www'], virtualIp: '10.0.1.9' },
    ...{ endpointIp: `10.0.1.${host}`, taskAliases: [], ...more },
  });
  const found = (name: string) => [...(lookUp([table], name) ?? [])].sort();
  table.put(row('a', 5));
  table.put(row('b', 6));
  table.delete('a');
  t.same(found('web'), ['10.0.1.9'], 'the other task still stands for the virtual address');
  t.same(found('tasks.www'), ['10.0.1.6']);
  table.put(row('b', 7, { aliases: [] }));
  t.same(found('tasks.web'), ['10.0.1.7'], 'replaced');
  t.equal(lookUp([table], 'www'), undefined);
  t.equal(lookUpPointer([table], '6.1.0.10.in-addr.arpa'), undefined);
  table.put(row('c', 7));
  table.delete('b');
  t.equal(lookUpPointer([table], '7.1.0.10.in-addr.arpa'), 'web.c.front', 'of the newer row');
  table.describe({ ...table.info, name: 'back', subnets: [] });
  t.same(lookUp([table], 'web.back', 6), [], 'no IPv6 any more');
  table.retain(new Set());
  t.equal(table.size, 0);
  for (const name of ['web', 'tasks.web', 'www', 'tasks.www', 'web.c'])
    t.equal(lookUp([table], name), undefined, name);
});
