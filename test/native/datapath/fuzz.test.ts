/**
 * Mutated and random packets at every hook: no program drops without a numbered reason, nothing
 * reaches a network it is not meant for, service goes on, and the kernel has nothing to complain
 * about. SKEP_FUZZ_SEED replays one run, SKEP_FUZZ_FRAMES makes it longer.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { SeededRandom } from '../../support/simulated-environment.js';
import { CLIENT_ADDRESS, INGRESS, OVERLAY, startCluster, VIP } from './cluster.js';
import { asMesh, corpus, fuzzed, inTunnel } from './fuzz-frames.js';
import { type Actor, DNS_ADDRESS, inside, macOf, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(600_000);

const SEED = Number(process.env['SKEP_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const FRAMES = Number(process.env['SKEP_FUZZ_FRAMES'] ?? 4000);
const BATCH = 500;
const SHOT = 2;
const VERDICTS = new Set([-1, 0, SHOT, 7]);
const ISOLATED = 4098;
const ALONE = '10.0.2.11';
const STRANGER = '192.168.77.50';
const PORTS = [80, 8080, 53, 4789, 7946];
const SOURCE = fileURLToPath(new URL('../../../../test/native/datapath/frames.c', import.meta.url));

/** Destinations of every kind. */
const DESTINATIONS = [
  ...['10.0.0.11', '10.0.0.12', '10.0.1.11', '10.0.1.12', '10.0.1.21', VIP, ALONE, '10.0.2.1'],
  ...['10.0.1.1', '10.0.1.2', '10.0.1.200', DNS_ADDRESS, '169.254.75.3', CLIENT_ADDRESS],
  ...['192.168.77.11', '192.168.77.12', '224.0.0.1', '255.255.255.255', '127.0.0.1', '0.0.0.0'],
];

/** What the kernel log says of trouble. */
function complaints(): number {
  const log = execFileSync('dmesg', { encoding: 'utf8', maxBuffer: 64 << 20 });
  return log.match(/BUG:|WARNING:|Oops|general protection|Call Trace/g)?.length ?? 0;
}

await t.test(`seed ${SEED}`, async (t) => {
  const random = new SeededRandom(SEED);
  const world = new World();
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-fuzz-'));
  t.teardown(async () => {
    await world.close();
    rmSync(directory, { recursive: true });
  });
  const tool = path.join(directory, 'frames');
  execFileSync('gcc', ['-O2', '-Wall', '-o', tool, SOURCE]);
  const before = complaints();
  const { client, a, b, webA, webB, plainA } = await startCluster(world);
  await a.datapath('putNetworks', [
    { vni: ISOLATED, subnet: '10.0.2.0/24', gateway: '10.0.2.1', internal: true },
  ]);
  // Both ways of direct return are in force, so that what belongs to it is walked through too.
  const published = (await a.dump()).services.filter(({ key }) => key.kind === 'published');
  const direct = published.map((row) => ({ ...row, direct: true }));
  for (const [node, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    await node.datapath('putServices', direct);
    const way = { tunnelAddress: peer.address, asEntry: true, asBackend: true };
    await node.datapath('setDirectWays', [way]);
  }
  const alone = await world.container(a, 'alone', [{ vni: ISOLATED, address: ALONE }]);

  const fromPlain = corpus({
    ...{ sourceMac: macOf('10.0.1.21'), source: '10.0.1.21' },
    ...{ destinations: DESTINATIONS, ports: PORTS },
  });
  const fromStranger = corpus({
    ...{ sourceMac: '02:00:00:00:00:09', source: STRANGER },
    ...{ destinations: DESTINATIONS, ports: PORTS },
  });

  async function testRuns(
    t: Test,
    node: WorldNode,
    program: string,
    interfaceName: string,
    frames: readonly (readonly number[])[],
  ): Promise<void> {
    const index = Number.parseInt(node.run('ip', '-o', 'link', 'show', 'dev', interfaceName), 10);
    const drops = async () => {
      const counters = Object.entries(await node.counters());
      return counters.reduce((sum, [name, n]) => sum + (name.startsWith('drop-') ? n : 0), 0);
    };
    let dropped = 0;
    for (let done = 0; done < FRAMES; done += BATCH) {
      const batch = Array.from({ length: BATCH }, () => fuzzed(random, frames));
      const counted = await drops();
      const verdicts = (await node.agent.call(
        'testRuns',
        program,
        batch.map((frame) => Buffer.from(frame).toString('base64')),
        index,
      )) as readonly (number | null)[];
      const strange = verdicts.filter((verdict) => verdict !== null && !VERDICTS.has(verdict));
      if (strange.length > 0) t.fail(`${program}: verdicts ${strange.join(' ')}`);
      const shot = verdicts.filter((verdict) => verdict === SHOT).length;
      const grown = (await drops()) - counted;
      dropped += shot;
      // Containers' own address resolution may add a little of its own.
      const exact = grown >= shot && grown <= shot + BATCH / 10;
      if (!exact) t.fail(`${program}: ${shot} dropped, ${grown} counted`);
    }
    t.ok(dropped > 0 && dropped <= FRAMES, `${program}: ${dropped} of ${FRAMES} dropped`);
  }

  await t.test('no program drops without a reason', async (t) => {
    const link = (await a.dump()).links.find(({ address }) => address === '10.0.1.21');
    await testRuns(t, a, 'from_container', link?.interfaceName ?? '', fromPlain);
    const fromClient = corpus({
      ...{ sourceMac: '02:00:00:00:00:09', source: CLIENT_ADDRESS },
      ...{ destinations: DESTINATIONS, ports: PORTS },
    });
    const fromMember = fromPlain.map((inner) => tunnelled(random, inner, b.address, a.address));
    await testRuns(t, a, 'from_uplink', 'eth0', [...fromClient, ...fromMember]);
    await testRuns(t, a, 'from_host', 'sw-h1', fromPlain);
    await testRuns(t, a, 'from_overlay', 'sw-vx0', fromPlain);
    await testRuns(t, a, 'from_wireguard', 'sw-vx0', fromPlain);
  });

  await t.test('nothing reaches a network it is not meant for', async (t) => {
    const seen = watch(alone, tool);
    const senders: readonly (readonly [Actor, string, readonly (readonly number[])[]])[] = [
      [plainA, 'eth0', fromPlain],
      [webA, 'eth0', fromPlain],
      [webB, 'eth1', fromPlain],
      [client, 'br0', fromStranger],
      // A stranger's tunnel packets, also into the isolated network.
      [client, 'br0', fromStranger.map((inner) => tunnelled(random, inner, STRANGER, a.address))],
    ];
    for (const [actor, device, frames] of senders) {
      const file = path.join(directory, 'frames.bin');
      const batch = Array.from({ length: FRAMES }, () => fuzzed(random, frames));
      writeFileSync(file, Buffer.concat(batch.flatMap((frame) => [lengthOf(frame), frame])));
      const [sent = 0] = inside(actor, tool, 'send', device, file).split(' ').map(Number);
      t.ok(sent > FRAMES / 2, `${sent} frames sent on ${device}`);
    }
    t.same(await seen.stop(), [], 'the isolated container has seen nothing');
  });

  await t.test('service goes on and the kernel is content', async (t) => {
    // Whoever was fuzzed about may have learnt nonsense; fresh connections must work at once.
    const published = { host: a.address, port: 8080 };
    for (let i = 0; i < 6; i++) await t.resolves(client.askTcp(published));
    await t.resolves(plainA.askTcp({ host: VIP, port: 80 }));
    await t.resolves(webA.askUdp({ host: '10.0.1.12', port: 80 }));
    t.same((await a.dump()).services.length, 3);
    t.equal(complaints(), before, 'nothing in the kernel log');
  });
});

function lengthOf(frame: Uint8Array): Buffer {
  return Buffer.from([frame.length >> 8, frame.length & 0xff]);
}

/** A frame inside a tunnel, on any network, or on the mesh as any kind of packet. */
function tunnelled(
  random: SeededRandom,
  inner: readonly number[],
  source: string,
  destination: string,
): readonly number[] {
  const vni = random.pick([1, 1, INGRESS, OVERLAY, ISOLATED, 0, 0xffffff]);
  const kind = random.pick([0xf3, ...[2, 3, 4, 5, 6, 7, 8].map((low) => 0x70 + low)]);
  const frame = vni === 1 ? asMesh(inner, kind, random.pick(DESTINATIONS)) : inner;
  return inTunnel(frame, { source, destination, vni });
}

/** Collects what arrives at a container, but for what it asked for itself. */
function watch(actor: Actor, tool: string): { stop(): Promise<readonly string[]> } {
  const child = spawn('nsenter', ['-t', String(actor.pid), '-n', '--', tool, 'watch', 'eth0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  return {
    async stop() {
      await sleep(500);
      child.kill();
      await new Promise((resolve) => child.once('close', resolve));
      const all = Buffer.concat(chunks);
      const frames: string[] = [];
      for (let at = 0; at + 2 <= all.length; ) {
        const length = all.readUInt16BE(at);
        frames.push(all.subarray(at + 2, at + 2 + length).toString('hex'));
        at += 2 + length;
      }
      return frames.slice(0, 5);
    },
  };
}
