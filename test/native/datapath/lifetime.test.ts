/**
 * The data plane outlives the process that owns it: killed, absent, taken over, and finally removed
 * without a trace. Also the echo that tells a dead node from a dead agent.
 */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  backendRows,
  CLIENT_ADDRESS,
  type Cluster,
  INGRESS,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { inside, type NodeOptions, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const PATIENCE_MS = 5000;

/** Waits until `check` holds. */
async function until(check: () => Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await sleep(10);
  }
}

async function withCluster(
  t: Test,
  run: (cluster: Cluster) => Promise<void>,
  options: NodeOptions = {},
): Promise<void> {
  const world = new World();
  t.teardown(async () => await world.close());
  await run(await startCluster(world, options));
}

for (const forceClsact of [false, true]) {
  const how = forceClsact ? 'clsact, tunnel device' : 'tcx, directly';
  const options = { forceClsact, forceTunnelDevice: forceClsact };
  await t.test(`killed and taken over (${how})`, async (t) => {
    await withCluster(
      t,
      async ({ world, client, a, b, plainA, webA }) => {
        const published = { host: a.address, port: PUBLISHED_PORT };
        await client.call('startStream', published);
        await plainA.call('startStream', { host: VIP, port: TARGET_PORT });
        await webA.call('startStream', { host: '10.0.1.12', port: TARGET_PORT });
        const before = await a.dump();

        await a.agent.kill();
        for (const actor of [client, plainA, webA]) {
          const { answered } = await actor.tally();
          await until(async () => (await actor.tally()).answered > answered + 5, 'traffic goes on');
        }
        await t.resolves(client.askTcp(published), 'new connections too');
        await t.resolves(a.holder.askTcp({ ...published, host: '127.0.0.1' }));

        const usedTcx = await b.agent.call('usesTcx');
        await world.openAgent(a, options);
        t.same(await a.dump(), before, 'the new process finds every row');
        t.equal(await a.agent.call('usesTcx'), usedTcx, 'as before');
        if (forceClsact) t.equal(usedTcx, false);
        for (const actor of [client, plainA, webA]) {
          const { answered } = await actor.tally();
          await until(async () => (await actor.tally()).answered > answered + 5, 'and on');
          t.equal(((await actor.call('stopStream')) as { failure?: string }).failure, undefined);
        }
        await t.resolves(client.askTcp(published));
      },
      options,
    );
  });
}

await t.test('attached another way than by the process before', async (t) => {
  await withCluster(t, async ({ world, client, a, plainA }) => {
    const published = { host: a.address, port: PUBLISHED_PORT };
    await plainA.call('startStream', { host: VIP, port: TARGET_PORT });
    for (const forceClsact of [true, false]) {
      await a.agent.kill();
      await world.openAgent(a, { forceClsact });
      t.equal(await a.agent.call('usesTcx'), !forceClsact);
      await t.resolves(client.askTcp(published), `new connections, clsact: ${forceClsact}`);
      const { answered } = await plainA.tally();
      await until(async () => (await plainA.tally()).answered > answered + 5, 'traffic goes on');
    }
    const { failure } = (await plainA.call('stopStream')) as { failure?: string };
    t.equal(failure, undefined);
  });
});

await t.test('a container deleted while no process watched', async (t) => {
  await withCluster(t, async ({ world, a }) => {
    const gone = await world.container(a, 'gone', [{ vni: INGRESS, address: '10.0.0.50' }]);
    const names = async () => (await a.dump()).links.map((link) => link.address);
    const link = (await a.dump()).links.find(({ address }) => address === '10.0.0.50');
    t.ok(link);
    await a.agent.kill();
    await gone.kill();
    await until(
      async () => !a.run('ip', '-o', 'link').includes(` ${link?.interfaceName}@`),
      'the device follows its namespace',
    );
    await world.openAgent(a);
    t.notOk((await names()).includes('10.0.0.50'));
    const pins = a.run('ls', `${a.directory}/skep/links`).match(/container-/g)?.length ?? 0;
    const pinned = (await a.agent.call('usesTcx')) === true;
    t.equal(pins, pinned ? 3 : 0, 'its pin is gone too');
  });
});

await t.test('draining keeps connections and gets no new ones', async (t) => {
  await withCluster(t, async ({ client, a, b }) => {
    const published = { host: a.address, port: PUBLISHED_PORT };
    let name = '';
    for (let tries = 0; name !== 'web-b' && tries < 32; tries += 1) {
      await client.call('stopStream');
      name = ((await client.call('startStream', published)) as { name: string }).name;
    }
    t.equal(name, 'web-b');
    const rows = backendRows(11, b.address).map((row) =>
      row.address.endsWith('.12') ? { ...row, state: 'draining' } : row,
    );
    await a.datapath('putBackends', rows);
    for (let i = 0; i < 6; i++) t.equal((await client.askTcp(published)).name, 'web-a');
    const { answered } = await client.tally();
    await until(async () => (await client.tally()).answered > answered + 5, 'it goes on');
    t.same((await a.dump()).services.length, 3);

    await a.datapath('putServices', serviceRows([11]));
    await a.datapath('removeBackends', [{ vni: INGRESS, address: '10.0.0.12' }]);
    t.equal((await client.askTcp(published)).name, 'web-a');
    await a.datapath('putServices', serviceRows([]));
    await t.rejects(client.askTcp(published), { code: 'ECONNREFUSED' }, 'nobody left: refused');
  });
});

await t.test('echo is answered by the kernel of a node whose process is gone', async (t) => {
  await withCluster(t, async ({ a, b }) => {
    await b.agent.kill();
    await a.datapath('sendEchoes', [b.address, '192.168.77.99']);
    const replies = async () => (await a.datapath('echoReplies')) as Record<string, number>;
    await until(async () => (await replies())[b.address] !== undefined, 'the echo comes back');
    t.equal((await replies())['192.168.77.99'], undefined);
    const first = (await replies())[b.address] ?? 0;
    await a.datapath('sendEchoes', [b.address]);
    await until(async () => ((await replies())[b.address] ?? 0) > first, 'a later one');
    b.run('ip', 'link', 'set', 'sw-vx0', 'down');
    await a.datapath('sendEchoes', [b.address]);
  });
});

await t.test('destroy leaves nothing', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a, webA } = await startCluster(world);
  await a.datapath('destroy');
  // Newer kernels show two files of their own on every bpf file system.
  t.notMatch(a.run('ls', a.directory), /^(?!maps\.debug$|progs\.debug$).+/m);
  const links = a.run('ip', '-o', 'link');
  t.notMatch(links, /sw-/);
  t.equal(a.run('nft', 'list', 'ruleset').trim(), '');
  t.notMatch(a.run('ip', 'route'), /10\.0\./);
  t.notMatch(a.run('bpftool', 'net', 'show'), /from_/);
  await t.rejects(webA.askUdp({ host: '10.0.1.12', port: TARGET_PORT, timeoutMs: 100 }), {
    code: 'ETIMEDOUT',
  });
  t.match(inside(webA, 'ip', '-o', 'link'), /eth0/);
});

await t.test('what a host lacks is said in one sentence', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { client, a } = await startCluster(world);
  await t.test('tunnel port taken by a device', async (t) => {
    await a.datapath('destroy');
    const rival = ['ip', 'link', 'add', 'rival', 'type', 'vxlan', 'id', '42', 'dstport', '4789'];
    a.run(...rival, 'local', a.address);
    a.run('ip', 'link', 'set', 'rival', 'up');
    await t.rejects(world.openAgent(a), {
      message: 'UDP port 4789 is already used by the VXLAN device rival',
    });
    t.notMatch(a.run('ip', '-o', 'link'), /sw-vx0/);
    a.run('ip', 'link', 'del', 'rival');
  });
  await t.test('tunnel port taken by a process', async (t) => {
    await a.holder.call('serveUdp', 4789);
    await t.rejects(world.openAgent(a), { message: /^UDP port 4789 is already used by another/ });
  });
  await t.test('no bpf file system', async (t) => {
    const agent = await world.actor(['nsenter', '-t', String(client.pid), '-n', '--']);
    const options = {
      pinDirectory: `${a.directory}-absent`,
      recordFile: a.recordFile,
      underlayInterfaces: ['br0'],
      tunnelAddress: CLIENT_ADDRESS,
      tunnelPort: 4789,
      dnsAddress: '169.254.75.2',
    };
    await t.rejects(agent.call('open', options), { message: /is not on a bpf file system/ });
    rmSync(options.pinDirectory, { recursive: true });
  });
});
