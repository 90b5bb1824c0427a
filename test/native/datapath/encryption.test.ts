/**
 * An encrypted network between two nodes, with the kernel's WireGuard or wireguard-go, as skepd would
 * choose: traffic flows, nothing is ever on the underlay in clear, and neither a killed agent nor a
 * changed key costs a connection. SKEP_TEST_KEY_CHANGES, SKEP_TEST_TRANSFER_BYTES: see below.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import t from 'tap';
import {
  EncryptionKeyRecordSchema,
  EncryptionKeysSchema,
} from '../../../src/model/gen/skep/network/v1/tables_pb.js';
import { TestCluster } from '../../network/support/test-cluster.js';
import { type Captured, watched as watchedAt } from './capture.js';
import type { EncryptionOptions } from './encryption-agent.js';
import { type Actor, inside, macOf, type NodeOptions, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(500_000);

const SECRET = 4200;
const PLAIN = 4201;
const INGRESS = 4202;
const MESH = 1;
/** A backend's id on the mesh: 10.0.0.11. */
const MESH_BACKEND = '0a00000b';
const MARKER = 'SKEP-MARKER-5f1d';
const PORT = 80;
const MTU = 1390;
const NODES = [
  { nodeId: '10.0.0.2', tunnelAddress: '192.168.77.11' },
  { nodeId: '10.0.0.3', tunnelAddress: '192.168.77.12' },
] as const;
const NAMES = ['nodeaaaaaaaaaaaaaaaaaaaaa', 'nodebbbbbbbbbbbbbbbbbbbbb'] as const;
const OWN: NodeOptions = { ownProcesses: true };
const LONG_MS = 12 * 3_600_000;
/** Key changes under traffic, on both nodes together. */
const ROTATIONS = Number(process.env['SKEP_TEST_KEY_CHANGES'] ?? 60);
/** If given, a connection carries so much there and back, encrypted and in clear, and the rates are told. */
const TRANSFER_BYTES = Number(process.env['SKEP_TEST_TRANSFER_BYTES'] ?? 0);
const ROTATION_MS = 1000;

interface Side {
  readonly node: WorldNode;
  /** 10.0.9.x on the encrypted network. */
  readonly secret: Actor;
  /** 10.0.8.x on the plain one. */
  readonly plain: Actor;
  readonly options: EncryptionOptions;
}

const directory = mkdtempSync(path.join(tmpdir(), 'skep-encryption-'));
const world = new World();
let wire: Actor;
let a: Side;
let b: Side;
/** Whether records travel between the nodes. */
let gossiping = false;
let gossip: NodeJS.Timeout | undefined;

async function makeSide(cluster: TestCluster, index: 0 | 1): Promise<Side> {
  const other = index === 0 ? 1 : 0;
  const { tunnelAddress } = NODES[index];
  const node = await world.node(wire, tunnelAddress, OWN);
  await node.datapath('putNodes', NODES);
  await node.datapath('putNetworks', [
    { vni: SECRET, subnet: '10.0.9.0/24', gateway: '10.0.9.1', internal: false, encrypted: true },
    { vni: PLAIN, subnet: '10.0.8.0/24', gateway: '10.0.8.1', internal: false },
  ]);
  const secretAddress = `10.0.9.${12 - other}`;
  const plainAddress = `10.0.8.${12 - other}`;
  const remote = `10.0.8.${11 + other}`;
  await node.datapath('putRemoteEndpoints', [
    { vni: PLAIN, address: remote, mac: macOf(remote), ...NODES[other] },
  ]);
  // The name is in every answer: it is the text to look for.
  const secret = await world.container(
    node,
    MARKER,
    [{ vni: SECRET, address: secretAddress }],
    MTU,
  );
  const plain = await world.container(node, MARKER, [{ vni: PLAIN, address: plainAddress }]);
  for (const container of [secret, plain]) await container.serve(PORT);
  const far = `10.0.9.${11 + other}`;
  const options: EncryptionOptions = {
    nodeId: NAMES[index],
    stateDirectory: path.join(directory, String(index)),
    underlayAddress: tunnelAddress,
    identity: await cluster.identity(NAMES[index]),
    port: 7947,
    rotationMs: LONG_MS,
    remotes: [{ vni: SECRET, address: far, mac: macOf(far), owner: NAMES[other] }],
  };
  await node.agent.call('openEncryption', options);
  return { node, secret, plain, options };
}

/** Calls a method of a node's encryption. */
async function encryption(side: Side, method: string, ...args: readonly unknown[]) {
  return await side.node.agent.call('encryption', method, args);
}

/** Carries each node's record to the other; a killed agent says nothing. */
async function exchange(): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const record = (await encryption(from, 'record')) as string | undefined;
    if (record !== undefined) await encryption(to, 'learn', from.options.nodeId, record);
  }
}

/** Number of a node's newest key. */
async function generation(side: Side): Promise<number> {
  const record = (await encryption(side, 'record')) as string;
  const { keys } = fromBinary(EncryptionKeyRecordSchema, Buffer.from(record, 'base64'));
  return Number(fromBinary(EncryptionKeysSchema, keys).generations.at(-1)?.number ?? 0n);
}

async function reachable(): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    try {
      await a.secret.askTcp({ host: '10.0.9.12', port: PORT, timeoutMs: 1000 });
      await b.secret.askTcp({ host: '10.0.9.11', port: PORT, timeoutMs: 1000 });
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Runs `work` while the wire is watched. */
async function watched(work: () => Promise<void>): Promise<Captured> {
  return await watchedAt(wire, MARKER, work);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Process ids of wireguard-go in the network namespace of a node. */
function userspaceDevices(node: WorldNode): readonly number[] {
  const namespace = readlinkSync(`/proc/${node.holder.pid}/ns/net`);
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const isOne = readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'wireguard-go';
        return isOne && readlinkSync(`/proc/${pid}/ns/net`) === namespace;
      } catch {
        // No process, or one that has just ended.
        return false;
      }
    });
}

/** True if a node's device is the kernel's. */
function isKernelDevice(node: WorldNode): boolean {
  return node.run('ip', '-d', 'link', 'show', 'type', 'wireguard').includes('sw-wg');
}

/** Megabytes a second, there and back together. */
async function transferRate(from: Actor, host: string): Promise<number> {
  const start = performance.now();
  const bytes = (await from.call('fetchTcp', host, PORT, TRANSFER_BYTES)) as number;
  return (2 * bytes) / 1000 / (performance.now() - start);
}

/** A VXLAN packet of the encrypted network with the text in it, for `address`; or one of the mesh. */
function clearPacket(address: string, text: string, vni = SECRET): Buffer {
  const inner = Buffer.alloc(14 + 20 + 8 + text.length);
  const mac = vni === MESH ? `0273${MESH_BACKEND}` : macOf(address).replaceAll(':', '');
  Buffer.from(mac, 'hex').copy(inner, 0);
  inner.writeUInt16BE(0x0800, 12);
  inner.writeUInt8(0x45, 14);
  inner.writeUInt16BE(inner.length - 14, 16);
  inner.writeUInt8(64, 22);
  inner.writeUInt8(17, 23);
  Buffer.from([10, 0, 9, 99]).copy(inner, 26);
  Buffer.from(address.split('.').map(Number)).copy(inner, 30);
  inner.write(text, 42);
  const header = Buffer.alloc(8);
  header.writeUInt8(8, 0);
  header.writeUInt32BE(vni << 8, 4);
  return Buffer.concat([header, inner]);
}

/** Sends a tunnel packet from a to b: without a checksum as tunnels do, which the programs take off themselves; and with one. */
function sendClear(packet: Buffer): void {
  for (const checksum of [0, 1]) {
    const send =
      'import socket,sys;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);' +
      's.setsockopt(socket.SOL_SOCKET,11,int(sys.argv[1]));' +
      's.sendto(bytes.fromhex(sys.argv[2]),("192.168.77.12",4789))';
    a.node.run('python3', '-c', send, String(1 - checksum), packet.toString('hex'));
  }
}

async function setUp(): Promise<void> {
  const cluster = await TestCluster.create();
  wire = await world.outside();
  inside(wire, 'ip', 'link', 'add', 'br0', 'type', 'bridge');
  inside(wire, 'ip', 'link', 'set', 'br0', 'up');
  a = await makeSide(cluster, 0);
  b = await makeSide(cluster, 1);
  let busy = false;
  gossip = setInterval(() => {
    if (busy || !gossiping) return;
    busy = true;
    exchange()
      .catch(() => undefined)
      .finally(() => {
        busy = false;
      });
  }, 50);
}

await t.test('an encrypted network', async (t) => {
  t.teardown(async () => {
    clearInterval(gossip);
    await world.close();
    rmSync(directory, { recursive: true, force: true });
  });
  await setUp();

  await t.test('the watch sees a plain network', async (t) => {
    const seen = await watched(async () => {
      await a.plain.askTcp({ host: '10.0.8.12', port: PORT });
    });
    t.ok(seen.hits > 0, 'the text is there in clear');
    t.equal(seen.lost, 0);
  });

  await t.test('without keys packets are dropped', async (t) => {
    const seen = await watched(async () => {
      await t.rejects(a.secret.askTcp({ host: '10.0.9.12', port: PORT, timeoutMs: 1500 }));
      await a.secret.call('sendUdp', '10.0.9.12', 9, Buffer.from(MARKER).toString('hex'));
    });
    t.equal(seen.hits, 0);
    const counters = await a.node.counters();
    t.ok((counters['drop-no-encryption-key'] ?? 0) > 0, 'and counted');
  });

  await t.test('with keys traffic flows, encrypted', async (t) => {
    await encryption(a, 'require');
    await encryption(b, 'require');
    gossiping = true;
    const seen = await watched(async () => {
      await reachable();
      const answer = await a.secret.askTcp({ host: '10.0.9.12', port: PORT });
      t.match(answer, { name: MARKER, address: '10.0.9.11' });
      const datagram = await b.secret.askUdp({ host: '10.0.9.11', port: PORT, payloadBytes: 1300 });
      t.match(datagram, { name: MARKER, bytes: 1300 });
      const bytes = 2_000_000;
      t.equal(await a.secret.call('fetchTcp', '10.0.9.12', PORT, bytes), bytes);
    });
    t.ok(seen.packets > 1000);
    t.equal(seen.hits, 0);
    const counters = await a.node.counters();
    t.ok((counters['encrypted-sent'] ?? 0) > 0);
    t.ok((counters['encrypted-received'] ?? 0) > 0);
    t.equal(counters['drop-clear-received'], 0);
    t.equal(counters['drop-wireguard-content'], 0);
  });

  await t.test('clear packets of the network are refused', async (t) => {
    const before = await b.node.counters();
    const secret = clearPacket('10.0.9.12', 'clear');
    sendClear(secret);
    await sleep(100);
    const after = await b.node.counters();
    t.equal((after['drop-clear-received'] ?? 0) - (before['drop-clear-received'] ?? 0), 2);
  });

  await t.test('a row that would send in clear sends nothing', async (t) => {
    const row = { vni: SECRET, address: '10.0.9.77', mac: macOf('10.0.9.77') };
    const seen = await watched(async () => {
      await a.node.datapath('putRemoteEndpoints', [{ ...row, ...NODES[1] }]);
      await a.secret.call('sendUdp', '10.0.9.77', 9, Buffer.from(MARKER).toString('hex'));
      await sleep(200);
    });
    t.equal(seen.hits, 0);
    t.equal((await a.node.counters())['drop-clear-send'], 1);
    await a.node.datapath('removeRemoteEndpoints', [row]);
  });

  await t.test('a killed agent costs nothing, and the next takes over', async (t) => {
    await a.secret.call('startStream', { host: '10.0.9.12', port: PORT });
    const devices = userspaceDevices(a.node);
    t.equal(devices.length, isKernelDevice(a.node) ? 0 : 1);
    const seen = await watched(async () => {
      const before = await a.secret.tally();
      gossiping = false;
      await a.node.agent.kill();
      await sleep(1500);
      const without = await a.secret.tally();
      t.ok(without.answered > before.answered + 20, 'traffic goes on without an agent');
      await world.openAgent(a.node, OWN);
      await a.node.agent.call('openEncryption', a.options);
      gossiping = true;
      await sleep(1500);
      const after = await a.secret.tally();
      t.ok(after.answered > without.answered + 20, 'and with the next one');
      t.equal(after.failure, undefined);
    });
    t.equal(seen.hits, 0);
    t.same(userspaceDevices(a.node), devices, 'the process is the same');
  });

  await t.test('key changes under traffic', { timeout: 400_000 }, async (t) => {
    const first = [await generation(a), await generation(b)];
    const done = async () => {
      const now = [await generation(a), await generation(b)];
      return now.reduce((sum, each, index) => sum + each - (first[index] ?? 0), 0);
    };
    const start = await a.secret.tally();
    let connections = 0;
    const seen = await watched(async () => {
      for (const side of [a, b]) await encryption(side, 'rotate', ROTATION_MS);
      for (const deadline = Date.now() + 380_000; (await done()) < ROTATIONS; ) {
        if (Date.now() > deadline) break;
        await b.secret.askTcp({ host: '10.0.9.11', port: PORT });
        connections += 1;
        await sleep(20);
      }
      for (const side of [a, b]) await encryption(side, 'rotate', LONG_MS);
    });
    t.ok((await done()) >= ROTATIONS, `${await done()} key changes`);
    const end = await a.secret.tally();
    t.equal(end.failure, undefined, 'the old connection lives');
    t.ok(end.answered > start.answered + 100);
    t.ok(connections > ROTATIONS, `${connections} new connections, none failed`);
    t.equal(seen.hits, 0);
  });

  await t.test('an encrypted ingress network', async (t) => {
    const actors: Actor[] = [];
    for (const [index, { node }] of [a, b].entries()) {
      const nodeAddress = NODES[index as 0 | 1].nodeId;
      const own = `10.0.0.${11 + index}`;
      const far = `10.0.0.${12 - index}`;
      await node.datapath('setNodeId', nodeAddress);
      const network = { vni: INGRESS, subnet: '10.0.0.0/24', gateway: '10.0.0.1' };
      await node.datapath('putNetworks', [
        { ...network, nodeAddress, internal: false, encrypted: true },
      ]);
      await node.datapath('putRemoteEndpoints', [
        { vni: INGRESS, address: far, mac: macOf(far), ...NODES[index === 0 ? 1 : 0] },
      ]);
      const web = await world.container(node, MARKER, [{ vni: INGRESS, address: own }], MTU);
      await web.serve(PORT);
      actors.push(web);
    }
    const [web] = actors;
    if (web === undefined) throw new Error('no container');
    const target = { host: '10.0.0.12', port: PORT };
    const seen = await watched(async () => {
      const before = await a.node.counters();
      await t.rejects(web.askTcp({ ...target, timeoutMs: 300 }), 'no way is known');
      const after = await a.node.counters();
      const missed =
        (after['drop-no-encryption-key'] ?? 0) - (before['drop-no-encryption-key'] ?? 0);
      t.ok(missed > 0, 'and the packets are counted');
      for (const side of [a, b]) {
        const tunnels = (await encryption(side, 'tunnels')) as Record<string, string>;
        const [other] = NAMES.filter((name) => name !== side.options.nodeId);
        const [node] = NODES.filter(
          ({ tunnelAddress }) => tunnelAddress !== side.options.underlayAddress,
        );
        const wireguardTunnel = tunnels[other ?? ''];
        await side.node.datapath('putNodes', [{ ...node, wireguardTunnel }]);
      }
      t.match(await web.askTcp(target), { name: MARKER, address: '10.0.0.11' });
    });
    t.equal(seen.hits, 0);
    const { nodes } = await a.node.dump();
    t.ok(
      nodes.some(({ wireguardTunnel }) => wireguardTunnel !== undefined),
      'what is read back',
    );
    const before = await b.node.counters();
    sendClear(clearPacket('10.0.0.12', 'clear', MESH));
    sendClear(clearPacket('10.0.0.12', 'clear', INGRESS));
    await a.node.datapath('sendEchoes', [NODES[1].tunnelAddress]);
    await sleep(200);
    const after = await b.node.counters();
    const more = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
    t.equal(more('drop-clear-received'), 4, 'clear packets are refused, of the mesh too');
    t.equal(more('echo-answered'), 1, 'but for the echoes, which carry nothing');
  });

  await t.test('what it carries', { skip: TRANSFER_BYTES === 0 }, async (t) => {
    const encrypted = await transferRate(a.secret, '10.0.9.12');
    const clear = await transferRate(a.plain, '10.0.8.12');
    const kind = isKernelDevice(a.node) ? 'kernel WireGuard' : 'wireguard-go';
    t.comment(`${kind}: ${encrypted.toFixed(2)} MB/s encrypted, ${clear.toFixed(2)} in clear`);
  });

  await t.test('a dead wireguard-go stops traffic and is started again', async (t) => {
    if (isKernelDevice(b.node)) return t.comment('no process can die');
    const seen = await watched(async () => {
      for (const pid of userspaceDevices(b.node)) execFileSync('kill', ['-9', String(pid)]);
      await t.rejects(a.secret.askTcp({ host: '10.0.9.12', port: PORT, timeoutMs: 300 }));
      await reachable();
    });
    t.equal(seen.hits, 0);
  });

  await t.test('leaving ends devices and keys', async (t) => {
    gossiping = false;
    await encryption(a, 'leave');
    await sleep(500);
    t.same(userspaceDevices(a.node), []);
    t.notMatch(a.node.run('ip', 'link'), 'sw-wg');
    t.same(readdirSync(a.options.stateDirectory), []);
    await t.rejects(a.secret.askTcp({ host: '10.0.9.12', port: PORT, timeoutMs: 500 }));
  });
});
