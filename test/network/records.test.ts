/** Values of the gossip tables: what comes back, what stock engines see, what is refused. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import {
  EndpointRecordSchema,
  PortConfigSchema,
  PortRangeSchema,
  RestrictedPortSchema,
} from '../../src/model/gen/skep/network/v1/tables_pb.js';
import {
  decodeEndpoint,
  decodePeer,
  encodeEndpoint,
  encodePeer,
  type EndpointValue,
  type PeerValue,
} from '../../src/network/records.js';

const PLAIN = { protocol: 'tcp', targetPort: 80, publishedPort: 8000 } as const;
const RULED = {
  ...PLAIN,
  publishedPort: 8001,
  scope: '192.0.2.1',
  allow: ['10.0.0.0/8', '2001:db8::/32'],
};
const VALUE: EndpointValue = {
  name: 'web.1',
  serviceName: 'web',
  serviceId: 'webid',
  virtualIp: '',
  endpointIp: '10.0.0.5',
  ingressPorts: [PLAIN, RULED],
  aliases: [],
  taskAliases: [],
  disabled: false,
  policy: 'maglev',
  returnPath: 'tunnel',
};

void t.test('a port with rules is not shown to those who do not know them', async (t) => {
  const bytes = encodeEndpoint(VALUE);
  const ports = fromBinary(EndpointRecordSchema, bytes).ingressPorts;
  t.same(
    ports.map((port) => port.publishedPort),
    [8000],
  );
  t.same(decodeEndpoint(bytes), VALUE);
  const closed = encodeEndpoint({ ...VALUE, ingressPorts: [PLAIN, { ...RULED, allow: [] }] });
  t.same(decodeEndpoint(closed)?.ingressPorts, [PLAIN], 'open to nobody: not announced');
});

void t.test('a stock engine writes <nil> where there is no virtual address', async (t) => {
  const record = fromBinary(EndpointRecordSchema, encodeEndpoint(VALUE));
  const decode = (virtualIp: string) =>
    decodeEndpoint(toBinary(EndpointRecordSchema, { ...record, virtualIp }));
  t.same(decode('<nil>'), decode(''));
  t.match(decode('<nil>'), { name: 'web.1', virtualIp: '' });
  t.equal(decode('nil'), undefined);
});

void t.test('a rule that cannot be read closes the port', async (t) => {
  const port = create(PortConfigSchema, { targetPort: 80, publishedPort: 8001 });
  const decode = (rule: { scope?: string; allow?: Uint8Array[] }) => {
    const restricted = create(RestrictedPortSchema, { port, ...rule });
    const record = create(EndpointRecordSchema, {
      endpointIp: '10.0.0.5',
      restrictedPorts: [restricted],
    });
    return decodeEndpoint(toBinary(EndpointRecordSchema, record))?.ingressPorts.length;
  };
  t.equal(decode({ scope: 'eth0' }), 1);
  t.equal(decode({ scope: 'no such thing' }), 0);
  t.equal(decode({ allow: [Uint8Array.of(10, 0, 0, 0, 8)] }), 1);
  t.equal(decode({ allow: [Uint8Array.of(10, 0, 0, 0, 33)] }), 0);
  t.equal(decode({ allow: [Uint8Array.of(10, 0, 0)] }), 0);
  const many = Array.from({ length: 200 }, (_, index) => Uint8Array.of(10, 0, 0, index, 32));
  t.equal(decode({ allow: many }), 0, 'more than anybody may set');
});

void t.test(
  'a run of ports: one by one where it fits, for stock engines, else as one',
  async (t) => {
    const run = (count: number) => ({ ...PLAIN, count });
    const bytes = (count: number) => encodeEndpoint({ ...VALUE, ingressPorts: [run(count)] });
    const few = fromBinary(EndpointRecordSchema, bytes(20));
    t.equal(few.ingressPorts.length, 20);
    t.equal(few.portRanges.length, 0);
    t.equal(decodeEndpoint(bytes(20))?.ingressPorts.length, 20);
    t.ok(bytes(10_000).length < 200);
    t.same(decodeEndpoint(bytes(10_000))?.ingressPorts, [run(10_000)]);
  },
);

void t.test('a run that leaves the ports there are is nothing', async (t) => {
  const first = create(PortConfigSchema, { targetPort: 65_000, publishedPort: 1000 });
  const decode = (count: number) => {
    const record = create(EndpointRecordSchema, { endpointIp: '10.0.0.5' });
    record.portRanges = [create(PortRangeSchema, { first, count })];
    return decodeEndpoint(toBinary(EndpointRecordSchema, record))?.ingressPorts.length;
  };
  t.equal(decode(536), 1);
  for (const count of [0, 537, 4_000_000_000]) t.equal(decode(count), 0);
});

void t.test('the way of replies travels; who does not say means the tunnel', async (t) => {
  const bytes = encodeEndpoint({ ...VALUE, returnPath: 'direct' });
  t.equal(decodeEndpoint(bytes)?.returnPath, 'direct');
  const record = create(EndpointRecordSchema, { endpointIp: '10.0.0.5' });
  t.equal(decodeEndpoint(toBinary(EndpointRecordSchema, record))?.returnPath, 'tunnel');
});

void t.test('the policy travels; one that is unknown counts as none', async (t) => {
  const bytes = encodeEndpoint({ ...VALUE, policy: 'least-conn' });
  t.equal(decodeEndpoint(bytes)?.policy, 'least-conn');
  const record = create(EndpointRecordSchema, { endpointIp: '10.0.0.5', lbPolicy: 'random' });
  t.equal(decodeEndpoint(toBinary(EndpointRecordSchema, record))?.policy, 'maglev');
});

const PEER: PeerValue = {
  address: '10.0.1.5',
  prefixLength: 24,
  mac: '02:42:0a:00:01:05',
  tunnelAddress: '192.0.2.1',
};

void t.test('tunnels of both families, in one form', async (t) => {
  for (const [announced, read] of [
    ['192.0.2.1', '192.0.2.1'],
    ['fd00:77::11', 'fd00:77::11'],
    ['FD00:77:0:0::11', 'fd00:77::11'],
    ['', undefined],
    ['127.0.0.1', undefined],
    ['224.0.0.1', undefined],
    ['::', undefined],
    ['::1', undefined],
    ['fe80::1', undefined],
    ['ff02::1', undefined],
    ['::ffff:c000:201', undefined],
    ['fd00::1/64', undefined],
    ['fd00::1%eth0', undefined],
  ] as const) {
    const peer = decodePeer(encodePeer({ ...PEER, tunnelAddress: announced }));
    t.equal(peer?.tunnelAddress, read, announced);
  }
});

void t.test('garbage is nobody', async (t) => {
  t.equal(decodePeer(Buffer.from('ff'.repeat(40), 'hex')), undefined);
  t.equal(decodePeer(encodePeer({ ...PEER, mac: 'x' })), undefined);
});
