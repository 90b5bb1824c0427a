/**
 * What is said to the name server's process, and how little it takes for granted: messages and frames of
 * any kind, feeding by difference to a reader that is slow or new, names of a former skepd.
 */
import * as fc from 'fast-check';
import t from 'tap';
import { encodeFrame, FrameReader } from '../../../src/network/dns/frames.js';
import { NameFeed, type WantedNames } from '../../../src/network/dns/name-feed.js';
import type { NameRow } from '../../../src/network/dns/names.js';
import { isTableMessage, NameService } from '../../../src/network/dns/process/name-service.js';
import {
  type FeedMessage,
  type NamedContainer,
  parseFeed,
  parseReport,
} from '../../../src/network/dns/protocol.js';
import { RememberedNames } from '../../../src/network/dns/remembered-names.js';
import { wantedNetworks } from '../../../src/network/dns/wanted-names.js';
import { NAME_FRAME_BYTES_MAX } from '../../../src/network/limits.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';

const SETTINGS = {
  ...{ isFilling: false, ttlSeconds: 5, address: '127.0.0.1', port: 0 },
  resolvConf: '/dev/null',
};

function row(key: string, host: number): NameRow {
  return {
    ...{ key, name: `web.${key}`, serviceName: 'web', aliases: ['www'], virtualIp: '10.0.1.9' },
    ...{ endpointIp: `10.0.1.${host}`, taskAliases: ['box'] },
  };
}

function wanted(networks: Readonly<Record<string, readonly NameRow[]>>): WantedNames {
  return {
    settings: SETTINGS,
    networks: new Map(
      Object.entries(networks).map(([id, rows]) => {
        const network = { id, name: id, internal: false, subnets: [{ subnet: '10.0.1.0/24' }] };
        return [id, { network, rows: new Map(rows.map((each) => [each.key, each])) }];
      }),
    ),
  };
}

/** What a process would have after these messages, read as they arrive. */
class Reader {
  readonly service = new NameService({
    ...systemEnvironment,
    open: () => {
      throw new Error('no namespaces here');
    },
    logger: silentLogger,
  });
  readonly messages: FeedMessage[] = [];
  /** Messages it takes before it is full. */
  room = Number.POSITIVE_INFINITY;

  get isFull(): boolean {
    return this.room <= 0;
  }

  write(message: FeedMessage): void {
    this.room -= 1;
    const read = parseFeed(JSON.parse(JSON.stringify(message)));
    if (read === undefined) throw new Error(`not understood: ${JSON.stringify(message)}`);
    this.messages.push(read);
    if (isTableMessage(read)) this.service.apply(read);
  }

  /** Keys by network. */
  get tables(): Readonly<Record<string, readonly string[]>> {
    const found: Record<string, string[]> = {};
    for (const message of this.service.dump()) {
      if (message.kind === 'network') found[message.network.id] = [];
      else found[message.networkId]?.push(...message.put.map(({ key }) => key));
    }
    return found;
  }
}

void t.test('whatever arrives is read or refused', async (t) => {
  const message = fc.oneof(
    fc.anything(),
    fc.record({
      kind: fc.constantFrom('settings', 'network', 'rows', 'container', 'mark', 'hello', 'log'),
      settings: fc.anything(),
      network: fc.anything(),
      container: fc.anything(),
      put: fc.array(fc.anything()),
      gone: fc.array(fc.anything()),
      fields: fc.anything(),
      number: fc.anything(),
    }),
  );
  fc.assert(
    fc.property(message, (value) => {
      parseFeed(value);
      parseReport(value);
    }),
    { numRuns: 2000 },
  );
  const rows = { kind: 'rows', networkId: '1', put: [row('a', 5)], gone: [] };
  t.same(parseFeed(rows), rows);
  const bad: readonly (readonly [string, unknown])[] = [
    ['an address', { ...rows, put: [{ ...row('a', 5), endpointIp: '10.0.1.256' }] }],
    ['a virtual address', { ...rows, put: [{ ...row('a', 5), virtualIp: 'fd00::1' }] }],
    ['a long name', { ...rows, put: [{ ...row('a', 5), name: 'x'.repeat(256) }] }],
    ['many aliases', { ...rows, put: [{ ...row('a', 5), aliases: Array(257).fill('x') }] }],
    ['an alias', { ...rows, put: [{ ...row('a', 5), aliases: [{}] }] }],
    ['keys', { ...rows, gone: [1] }],
    ['a mark', { kind: 'mark', number: -1 }],
    ['a path', { kind: 'container', container: { id: 'c', sandbox: '../x', addresses: [] } }],
    [
      'a subnet',
      {
        kind: 'network',
        network: { id: '1', name: 'n', internal: false, subnets: [{ subnet: '10.0.0.0' }] },
      },
    ],
    ['settings', { kind: 'settings', settings: { ...SETTINGS, port: 65_536 } }],
  ];
  for (const [what, value] of bad) t.equal(parseFeed(value), undefined, what);
});

void t.test('frames are put together again, and bounded', async (t) => {
  const messages = [{ kind: 'mark', number: 1 }, { kind: 'x'.repeat(100_000) }, { kind: 'commit' }];
  const bytes = Buffer.concat(messages.map(encodeFrame));
  for (const size of [1, 3, 1000, bytes.length]) {
    const reader = new FrameReader();
    const found: unknown[] = [];
    const step = size === 1 ? 997 : size;
    for (let at = 0; at < bytes.length; at += step)
      found.push(...reader.push(bytes.subarray(at, at + step)));
    t.same(found, messages, `pieces of ${step}`);
  }
  const long = Buffer.alloc(4);
  long.writeUInt32BE(NAME_FRAME_BYTES_MAX + 1);
  t.throws(() => new FrameReader().push(long), { code: 'invalid_argument' });
});

void t.test('only differences are told, and all to one that is new', async (t) => {
  const feed = new NameFeed();
  const first = new Reader();
  feed.attach(first);
  t.same(first.messages, [], 'nothing before there are names: they would replace what it has');
  feed.want(wanted({ a: [row('1', 1), row('2', 2)], b: [row('1', 1)] }));
  t.same(first.tables, { a: ['1', '2'], b: ['1'] });
  const before = first.messages.length;
  feed.want(wanted({ a: [row('1', 1), row('2', 3)] }));
  t.same(
    first.messages.slice(before).map((each) => each.kind),
    ['rows', 'network-gone', 'mark'],
  );
  t.same(first.tables, { a: ['1', '2'] });
  const container: NamedContainer = {
    ...{ id: 'c', sandbox: undefined, addresses: ['10.0.1.5'], networks: ['a'] },
  };
  feed.wantContainers(new Map([['c', container]]));
  feed.detach();
  feed.want(wanted({ c: [row('9', 9)] }));
  t.same(first.tables, { a: ['1', '2'] }, 'nobody is told');
  // It comes back, with what it had.
  feed.attach(first);
  t.same(first.tables, { c: ['9'] }, 'what is not named any more is forgotten');
});

void t.test(
  'a slow reader gets what is wanted in the end, whatever changes meanwhile',
  async (t) => {
    const feed = new NameFeed();
    const reader = new Reader();
    reader.room = 0;
    feed.attach(reader);
    let rows: NameRow[] = [];
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.constantFrom('put', 'drop', 'read'), fc.integer({ min: 1, max: 250 })),
          { maxLength: 30 },
        ),
        (steps) => {
          for (const [step, number] of steps) {
            const key = String(number % 40);
            if (step !== 'read') rows = rows.filter((each) => each.key !== key);
            if (step === 'put') rows.push(row(key, number));
            if (step === 'read') {
              reader.room = number % 3;
              feed.pump();
            } else feed.want(wanted({ a: rows }));
          }
          reader.room = 1000;
          feed.want(wanted({ a: rows }));
          reader.room = 0;
          const have = [...(reader.tables['a'] ?? [])].sort();
          return JSON.stringify(have) === JSON.stringify(rows.map((each) => each.key).sort());
        },
      ),
    );
    t.ok(reader.messages.length > 0);
  },
);

void t.test('names of a former skepd stay until they are known better', async (t) => {
  const info = {
    ...{ id: '1', name: 'front', internal: false, attachable: false, ingress: false },
    ...{ encrypted: false, subnets: [] },
  };
  const endpoint = (key: string, host: number, disabled = false) => ({
    ...{ networkId: '1', key, owner: 'n2', name: `web.${key}`, serviceName: 'web' },
    ...{ serviceId: 'w', virtualIp: '', endpointIp: `10.0.1.${host}`, ingressPorts: [] },
    ...{ aliases: [], taskAliases: [], disabled },
  });
  const old = ['other a', 'other b', 'other c', 'other d', 'own e'];
  const network = { id: '1', name: 'front', internal: false, subnets: [] };
  const rows = old.map((key, index) => row(key, 10 + index));
  const remembered = new RememberedNames([{ network, rows }]);
  let kept = true;
  const keysNow = (...endpoints: ReturnType<typeof endpoint>[]) => {
    const networks = [{ info, nodeAddresses: [] }];
    const found = wantedNetworks(networks, endpoints, { remembered, keep: () => kept });
    return [...(found.get('1')?.rows.keys() ?? [])].sort();
  };
  t.same(keysNow(), ['other a', 'other b', 'other c', 'other d'], 'own ones are known here');
  t.same(keysNow(endpoint('a', 10, true)), ['other b', 'other c', 'other d'], 'one drains');
  t.same(keysNow(), ['other b', 'other c', 'other d'], 'and does not come back');
  remembered.forget('1', '10.0.1.11');
  t.same(keysNow(endpoint('c', 12)), ['other c', 'other d'], 'one is withdrawn, one announced');
  t.same(keysNow(), ['other d'], 'then it is as the tables say');
  kept = false;
  t.same(keysNow(), []);
});
