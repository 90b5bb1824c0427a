/**
 * The name server over real sockets on loopback: own names, forwarding, hostile messages, bounds.
 */
import { createSocket, type Socket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import {
  type DecodedPacket,
  decode,
  encode,
  type OptAnswer,
  type Packet,
  type RecordType,
} from 'dns-packet';
import t, { type Test } from 'tap';
import {
  DnsForwarder,
  ForwardBudget,
  framed,
  parseResolvConf,
} from '../../../src/network/dns/forwarder.js';
import { openSharedSockets } from '../../../src/native/shared-sockets.js';
import type { NameTable } from '../../../src/network/dns/names.js';
import { DnsServer, reachesOutside } from '../../../src/network/dns/server.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { waitFor } from '../../testbed/commands.js';
import { nameTables } from '../support/name-tables.js';

const { random } = systemEnvironment;

function namesOf(count: number, internal = false): readonly NameTable[] {
  const flags = { internal, attachable: false, ingress: false, encrypted: false };
  const subnet = { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', subnet6: 'fd00:1::/64' };
  const info = { id: '1', name: 'front', subnets: internal ? [] : [subnet], ...flags };
  const endpoints = Array.from({ length: count }, (_, index) => ({
    ...{ networkId: '1', key: String(index), owner: 'n', name: `rr.${index}.x` },
    ...{ serviceName: 'rr', serviceId: 'r', virtualIp: '', endpointIp: `10.0.1.${index + 2}` },
    ...{ ingressPorts: [], aliases: [], taskAliases: [], disabled: false },
  }));
  return [...nameTables([{ info, nodeAddresses: [] }], endpoints).values()];
}

/** Tries until the port that was free for UDP is free for TCP too. */
async function onFreePort<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === 20) throw error;
    }
  }
}

/** An upstream that answers every A question with 203.0.113.7, over UDP and TCP. */
async function startUpstream(reply: (query: Packet) => Buffer | undefined) {
  const udp = createSocket('udp4');
  let asked = 0;
  udp.on('message', (message, from) => {
    asked += 1;
    const answer = reply(decode(message));
    if (answer !== undefined) udp.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve));
  const { port } = udp.address();
  const tcp = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      const answer = reply(decode(chunk.subarray(2)));
      if (answer !== undefined) socket.end(framed(answer));
    });
  });
  try {
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(port, '127.0.0.1', resolve);
    });
  } catch (error) {
    udp.close();
    throw error;
  }
  const close = async () => {
    await new Promise<void>((resolve) => udp.close(() => resolve()));
    await new Promise<void>((resolve) => tcp.close(() => resolve()));
  };
  return { upstream: { address: '127.0.0.1', port }, close, asked: () => asked };
}

const honest = (query: Packet) =>
  encode({
    ...{ type: 'response', id: query.id ?? 0, flags: 0x80, questions: query.questions ?? [] },
    answers: [{ type: 'A', name: query.questions?.[0]?.name ?? '', ttl: 5, data: '203.0.113.7' }],
  });

interface Setup {
  readonly names?: readonly NameTable[] | undefined;
  readonly reply?: (query: Packet) => Buffer | undefined;
  readonly upstreams?: number;
  readonly isFilling?: () => boolean;
}

async function setUp(t: Test, setup: Setup = {}) {
  const upstream = await onFreePort(() => startUpstream(setup.reply ?? honest));
  const upstreams = Array.from({ length: setup.upstreams ?? 1 }, () => upstream.upstream);
  const server = new DnsServer({
    sockets: await onFreePort(async () => openSharedSockets('127.0.0.1', 0)),
    mayForward: reachesOutside,
    namesFor: () => ('names' in setup ? setup.names : namesOf(3)),
    forwarder: new DnsForwarder({ upstreams: async () => upstreams, random, timeoutMs: 300 }),
    isFilling: setup.isFilling ?? (() => false),
    ttlSeconds: () => 5,
    random,
    logger: silentLogger,
  });
  t.teardown(async () => {
    await server.stop();
    await upstream.close();
  });
  await server.start();
  return { server, asked: upstream.asked };
}

async function sendUdp(port: number, message: Uint8Array): Promise<Buffer> {
  const socket: Socket = createSocket('udp4');
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('message', resolve);
      socket.send(message, port, '127.0.0.1');
    });
  } finally {
    socket.close();
  }
}

function question(name: string, type: RecordType, payload = 0): Buffer {
  const opt: OptAnswer = {
    ...{ type: 'OPT', name: '.', udpPayloadSize: payload, flags: 0, options: [] },
    ...{ extendedRcode: 0, ednsVersion: 0, flag_do: false },
  };
  return encode({
    ...{ type: 'query', id: 4711, flags: 0x100, questions: [{ name, type }] },
    additionals: payload === 0 ? [] : [opt],
  });
}

/** The name of the response code; the types lack it. */
function rcodeOf(packet: DecodedPacket): string {
  return 'rcode' in packet ? String(packet.rcode) : '';
}

async function ask(port: number, name: string, type: RecordType, payload = 0) {
  const answer = decode(await sendUdp(port, question(name, type, payload)));
  const data = (answer.answers ?? []).map((row) =>
    'data' in row && typeof row.data === 'string' ? row.data : '',
  );
  const rcode = rcodeOf(answer);
  return {
    rcode,
    data,
    id: answer.id,
    truncated: answer.flag_tc,
    name: answer.questions?.[0]?.name,
  };
}

void t.test('answers own names, shuffled', async (t) => {
  const { server, asked } = await setUp(t);
  const firsts = new Set<string>();
  for (let turn = 0; turn < 60; turn += 1) {
    const { data, rcode, id } = await ask(server.port, 'RR', 'A');
    t.same([...data].sort(), ['10.0.1.2', '10.0.1.3', '10.0.1.4']);
    t.same([rcode, id], ['NOERROR', 4711]);
    firsts.add(data[0] ?? '');
  }
  t.equal(firsts.size, 3, 'each of three comes first at times');
  const aaaa = await ask(server.port, 'rr', 'AAAA');
  t.same([aaaa.rcode, [...aaaa.data].sort()], ['NOERROR', ['fd00:1::2', 'fd00:1::3', 'fd00:1::4']]);
  const text = await ask(server.port, 'rr', 'TXT');
  t.same([text.rcode, text.data], ['NOERROR', []], 'known, but has no such record');
  t.same((await ask(server.port, '2.1.0.10.in-addr.arpa', 'PTR')).data, ['rr.0.x.front']);
  t.equal(asked(), 0, 'nothing of this was asked outside');
});

void t.test('EDNS is answered with EDNS, and the time to live is short', async (t) => {
  const { server } = await setUp(t);
  for (const [name, type, answers] of [
    ['rr', 'A', 3],
    ['rr', 'AAAA', 3],
    ['2.1.0.10.in-addr.arpa', 'PTR', 1],
  ] as const) {
    for (const payload of [0, 1232]) {
      const answer = decode(await sendUdp(server.port, question(name, type, payload)));
      t.equal(rcodeOf(answer), 'NOERROR', `${name} ${type} ${payload}`);
      t.equal(answer.answers?.length, answers);
      for (const row of answer.answers ?? []) t.equal('ttl' in row && row.ttl, 5);
      const opts = (answer.additionals ?? []).filter((row) => row.type === 'OPT');
      t.equal(opts.length, payload === 0 ? 0 : 1);
    }
  }
});

void t.test('forwards the rest, over UDP and TCP', async (t) => {
  const { server, asked } = await setUp(t);
  const answer = await ask(server.port, 'Example.COM', 'A');
  t.same([answer.data, answer.id, answer.name], [['203.0.113.7'], 4711, 'Example.COM']);
  t.equal(asked(), 1);
  const socket = connect(server.port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  const stream = Buffer.concat([framed(question('rr', 'A')), framed(question('x.y', 'A'))]);
  // Byte by byte, two questions on one connection.
  for (const byte of stream) socket.write(Buffer.from([byte]));
  let received = Buffer.alloc(0);
  const answers: number[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    received = Buffer.concat([received, chunk]);
    while (received.length >= 2 && received.length >= received.readUInt16BE(0) + 2) {
      const length = received.readUInt16BE(0);
      answers.push(decode(received.subarray(2, length + 2)).answers?.length ?? 0);
      received = received.subarray(length + 2);
    }
    if (answers.length === 2) break;
  }
  t.same(answers, [3, 1]);
});

void t.test('questions that wait are bounded, for a server and for all together', async (t) => {
  const silent = await onFreePort(() => startUpstream(() => undefined));
  t.teardown(silent.close);
  const shared = new ForwardBudget(3);
  const make = () =>
    new DnsForwarder({
      ...{ upstreams: async () => [silent.upstream], random, timeoutMs: 300 },
      ...{ underWayMax: 2, shared },
    });
  const [one, other] = [make(), make()];
  const kinds = async (forwarder: DnsForwarder, count: number) =>
    await Promise.all(
      Array.from(
        { length: count },
        async () => (await forwarder.forward(question('x.y', 'A'), 'udp')).kind,
      ),
    );
  const [first, second] = await Promise.all([kinds(one, 3), kinds(other, 2)]);
  t.same(first.sort(), ['busy', 'silence', 'silence']);
  t.same(second.sort(), ['busy', 'silence'], 'three in all');
  t.same(await kinds(one, 2), ['silence', 'silence'], 'and there is room again');
});

void t.test('a silent server costs its turn once, one that fails nothing', async (t) => {
  const code = (flags: number) => (query: Packet) =>
    encode({ type: 'response', id: query.id ?? 0, flags, questions: query.questions ?? [] });
  const start = async (reply: (query: Packet) => Buffer | undefined) => {
    const upstream = await onFreePort(() => startUpstream(reply));
    t.teardown(upstream.close);
    return upstream;
  };
  const [silent, failing, living] = [
    await start(() => undefined),
    await start(code(0x82)),
    await start(honest),
  ];
  const forwarder = (...servers: readonly (typeof living)[]) =>
    new DnsForwarder({
      upstreams: async () => servers.map(({ upstream }) => upstream),
      ...{ random, timeoutMs: 2000, staggerMs: 200 },
    });
  const asked = () => [silent.asked(), failing.asked(), living.asked()];
  const answerOf = async (asking: DnsForwarder, transport: 'udp' | 'tcp' = 'udp') => {
    const result = await asking.forward(question('x.y', 'A'), transport);
    return result.kind === 'answer' ? rcodeOf(decode(result.message)) : result.kind;
  };
  const both = forwarder(silent, living);
  t.equal(await answerOf(both), 'NOERROR');
  t.strictSame(asked(), [1, 0, 1]);
  t.equal(await answerOf(both), 'NOERROR');
  t.strictSame(asked(), [1, 0, 2], 'it comes last now');
  t.equal(await answerOf(both, 'tcp'), 'NOERROR');
  t.equal(await answerOf(forwarder(failing, living)), 'NOERROR');
  t.strictSame(asked(), [1, 1, 3]);
  t.equal(await answerOf(forwarder(failing, silent)), 'SERVFAIL', 'as the one that answers says');
  t.equal(await answerOf(forwarder(silent)), 'silence');
});

void t.test('while names may be missing, those of tasks are not denied', async (t) => {
  const denial = (query: Packet) =>
    encode({ type: 'response', id: query.id ?? 0, flags: 0x83, questions: query.questions ?? [] });
  let filling = true;
  const { server } = await setUp(t, { reply: denial, isFilling: () => filling });
  const codes = async () =>
    await Promise.all(
      ['db', 'tasks.db', 'db.example.com'].map(
        async (name) => (await ask(server.port, name, 'A')).rcode,
      ),
    );
  t.same(await codes(), ['SERVFAIL', 'SERVFAIL', 'NXDOMAIN']);
  filling = false;
  t.same(await codes(), ['NXDOMAIN', 'NXDOMAIN', 'NXDOMAIN']);
});

void t.test('marks what does not fit', async (t) => {
  const { server } = await setUp(t, { names: namesOf(100) });
  const small = await ask(server.port, 'rr', 'A');
  t.ok(small.truncated);
  t.ok(small.data.length > 10 && small.data.length < 100, `${small.data.length} of 100`);
  const large = await ask(server.port, 'rr', 'A', 4096);
  t.same([large.truncated, large.data.length], [false, 100]);
});

void t.test('refusals', async (t) => {
  const strangers = await setUp(t, { names: undefined });
  t.equal(
    (await ask(strangers.server.port, 'rr', 'A')).rcode,
    'REFUSED',
    'not a container of ours',
  );
  const internal = await setUp(t, { names: namesOf(1, true) });
  t.equal((await ask(internal.server.port, 'example.com', 'A')).rcode, 'SERVFAIL');
  t.equal(internal.asked(), 0, 'internal networks ask nobody outside');
  const served = await setUp(t, { names: namesOf(1, false) });
  const chaos = question('rr', 'A');
  chaos.writeUInt16BE(3, chaos.length - 2);
  const answer = decode(await sendUdp(served.server.port, chaos));
  t.equal(rcodeOf(answer), 'REFUSED', 'a class there is nothing of');
  t.strictSame(answer.answers, []);
  const none = await setUp(t, { upstreams: 0 });
  t.equal((await ask(none.server.port, 'example.com', 'A')).rcode, 'SERVFAIL');
});

void t.test('believes only answers to its own question', async (t) => {
  const forgeries: readonly ((query: Packet) => Buffer | undefined)[] = [
    (query) => honest({ ...query, id: ((query.id ?? 0) + 1) & 0xffff }),
    (query) => honest({ ...query, questions: [{ name: 'evil.example', type: 'A' }] }),
    () => Buffer.from([1, 2, 3]),
    () => undefined,
  ];
  for (const reply of forgeries) {
    const { server } = await setUp(t, { reply });
    t.equal((await ask(server.port, 'example.com', 'A')).rcode, 'SERVFAIL');
  }
});

void t.test('survives hostile messages', async (t) => {
  const { server } = await setUp(t);
  const plain = question('rr', 'A');
  const pointer = Buffer.concat([plain.subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]);
  const many = Buffer.from(plain);
  many.writeUInt16BE(0xffff, 6);
  const two = Buffer.from(plain);
  two.writeUInt16BE(2, 4);
  const update = Buffer.from(plain);
  update.writeUInt16BE(0x2800, 2);
  for (const message of [pointer, many, two, update, plain.subarray(0, plain.length - 3)]) {
    t.equal(rcodeOf(decode(await sendUdp(server.port, message))), 'FORMERR');
  }
  const socket = createSocket('udp4');
  t.teardown(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  const response = Buffer.from(plain);
  response.writeUInt16BE(0x8000, 2);
  for (const message of [response, Buffer.alloc(0), Buffer.alloc(5), Buffer.alloc(3000, 0xff)]) {
    socket.send(message, server.port, '127.0.0.1');
  }
  for (let seed = 1; seed < 200; seed += 1) {
    const garbage = Buffer.from(plain);
    garbage[(seed * 7) % garbage.length] = (seed * 31) & 0xff;
    socket.send(garbage, server.port, '127.0.0.1');
  }
  t.equal((await ask(server.port, 'rr', 'A')).rcode, 'NOERROR');
});

void t.test('reads resolv.conf', async (t) => {
  const text =
    '# x\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0 \nnameserver nonsense\nsearch a b\n';
  t.same(parseResolvConf(text), ['192.0.2.1', 'fe80::1%eth0']);
});

void t.test('who asks over TCP and reads no answer gets no more of them', async (t) => {
  const QUESTIONS = 4000;
  let looked = 0;
  const tables = namesOf(200);
  const { server } = await setUp(t, {
    get names() {
      looked += 1;
      return tables;
    },
  });
  const client = connect(server.port, '127.0.0.1');
  t.teardown(() => client.destroy());
  await new Promise<void>((resolve) => client.once('connect', resolve));
  client.pause();
  const asked = framed(question('tasks.rr', 'A'));
  client.write(Buffer.concat(Array.from({ length: QUESTIONS }, () => asked)));
  // Until a look finds nothing new.
  for (let before = -1; looked !== before; ) {
    before = looked;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  t.ok(looked > 0 && looked < QUESTIONS / 2, `${looked} of ${QUESTIONS} questions looked up`);

  client.resume();
  await waitFor('all to be answered once it reads', 20_000, async () =>
    Promise.resolve(looked === QUESTIONS ? true : undefined),
  );
});
