/**
 * What an operator can see and what heals by itself: connections and traces read beside the
 * traffic, and a data path that somebody else tore pieces out of.
 */
import t, { type Test } from 'tap';
import type { ConnectionRow, TraceRow } from '../../../src/native/datapath-types.js';
import {
  CLIENT_ADDRESS,
  type Cluster,
  PUBLISHED_PORT,
  serviceRows,
  startCluster,
  TARGET_PORT,
  VIP,
} from './cluster.js';
import { type NodeOptions, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

async function withCluster(
  t: Test,
  run: (cluster: Cluster) => Promise<void>,
  options: NodeOptions = {},
): Promise<void> {
  const world = new World();
  t.teardown(async () => await world.close());
  await run(await startCluster(world, options));
}

await t.test('connections are listed with what they are turned into', async (t) => {
  await withCluster(t, async ({ client, a }) => {
    const { name } = await client.askTcp({ host: a.address, port: PUBLISHED_PORT });
    const rows = (await a.datapath('connections', 100)) as readonly ConnectionRow[];
    const flow = rows.find(({ kind, source }) => kind === 'service' && source === CLIENT_ADDRESS);
    t.match(flow, {
      protocol: 6,
      vni: 0,
      destination: a.address,
      destinationPort: PUBLISHED_PORT,
      other: name === 'web-a' ? '10.0.0.11' : '10.0.0.12',
      otherPort: TARGET_PORT,
    });
    t.ok((flow?.idleSeconds ?? -1) <= 2, 'it is recent');
    t.equal(
      ((await a.datapath('connections', 1)) as unknown[]).length,
      1,
      'no more than asked for',
    );
    t.same(await a.datapath('connections', 0), []);
  });
});

async function traced(node: WorldNode): Promise<readonly TraceRow[]> {
  return ((await node.datapath('readTrace')) as { rows: readonly TraceRow[] }).rows;
}

await t.test('a trace shows the way of one client and of nobody else', async (t) => {
  await withCluster(t, async ({ client, a, b, plainA }) => {
    const filter = {
      address: CLIENT_ADDRESS,
      port: PUBLISHED_PORT,
      protocol: 6,
      durationMs: 60_000,
      otherPorts: [TARGET_PORT],
    };
    for (const node of [a, b]) {
      t.same(await traced(node), [], 'nothing is noted before');
      await node.datapath('putServices', serviceRows([12]));
      await node.datapath('startTrace', filter);
    }
    await plainA.askTcp({ host: VIP, port: TARGET_PORT });
    await client.askUdp({ host: a.address, port: PUBLISHED_PORT });
    t.same(await traced(a), [], 'other traffic is not noted');

    await client.askTcp({ host: a.address, port: PUBLISHED_PORT });
    const onA = await traced(a);
    const [first] = onA;
    t.match(first, {
      program: 'from_uplink',
      interfaceName: 'eth0',
      source: CLIENT_ADDRESS,
      destination: a.address,
      destinationPort: PUBLISHED_PORT,
      tcpFlags: 2,
      verdict: 'forwarded',
    });
    t.same(first?.steps, ['service-connection', 'mesh-sent', 'forward-tunnel']);
    t.ok(
      onA.some(({ source, steps }) => source === a.address && steps.includes('forward-uplink')),
      'answers on their way back to the client',
    );
    const onB = await traced(b);
    t.match(onB[0], {
      source: CLIENT_ADDRESS,
      destination: a.address,
      steps: ['forward-container'],
    });

    t.ok(
      onB.some(({ sourcePort, program, steps }) => {
        const isReply = sourcePort === TARGET_PORT && program === 'from_container';
        return isReply && steps.includes('mesh-returned');
      }),
      'answers where the container sends them, from its own port',
    );

    for (const node of [a, b]) await node.datapath('stopTrace');
    await traced(a); // The end of the connection, which came after the last look.
    await client.askTcp({ host: a.address, port: PUBLISHED_PORT });
    t.same(await traced(a), [], 'nothing is noted afterwards');
  });
});

await t.test('a trace ends by itself, and says what it lost', async (t) => {
  await withCluster(t, async ({ client, a }) => {
    const ask = async () => await client.askTcp({ host: a.address, port: PUBLISHED_PORT });
    await a.datapath('startTrace', {
      address: CLIENT_ADDRESS,
      port: 0,
      protocol: 0,
      durationMs: 0,
    });
    await ask();
    t.same(await traced(a), [], 'its time was over');
    await a.datapath('startTrace', {
      ...{ address: CLIENT_ADDRESS, port: 0, protocol: 0, durationMs: 60_000 },
    });
    // More rows than the ring holds (8,192): at least eight for each connection.
    for (let i = 0; i < 1100; i++) await ask();
    const { rows, lost } = (await a.datapath('readTrace')) as { rows: unknown[]; lost: number };
    t.ok(lost > 0, 'the oldest are lost and counted');
    t.ok(rows.length > 8000 && rows.length <= 8192, 'the newest are there');
  });
});

for (const forceClsact of [false, true]) {
  await t.test(`torn out and put back (${forceClsact ? 'clsact' : 'tcx'})`, async (t) => {
    await withCluster(
      t,
      async ({ client, a, plainA }) => {
        const repair = async () =>
          (await a.datapath('repair')) as { parts: number; rules: boolean };
        const works = async () => {
          await client.askTcp({ host: a.address, port: PUBLISHED_PORT });
          await plainA.askTcp({ host: VIP, port: TARGET_PORT });
          await a.holder.askTcp({ host: '127.0.0.1', port: PUBLISHED_PORT });
        };
        t.same(await repair(), { parts: 0, rules: false }, 'nothing to do');
        const damages: readonly (readonly string[])[] = [
          ['ip', 'addr', 'flush', 'dev', 'sw-h0'],
          ['ip', 'route', 'flush', 'dev', 'sw-h0'],
          // Another agent switches routing off for all devices; only a change counts.
          ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.ip_forward=0'],
          ['ip', 'link', 'set', 'sw-h0', 'down'],
          ['ip', 'link', 'del', 'sw-h0'],
          ['ip', 'link', 'del', 'sw-vx0'],
          // A next process finds its tables by them.
          ['rm', `${a.directory}/skep/maps/sw_service`, `${a.directory}/skep/maps/sw_connection`],
          ['rm', '-r', `${a.directory}/skep/maps`],
          ...(forceClsact ? [['tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact']] : []),
        ];
        for (const damage of damages) {
          a.run(...damage);
          t.ok((await repair()).parts > 0, damage.join(' '));
          t.same(await repair(), { parts: 0, rules: false }, 'once is enough');
          await works();
        }
        for (const rules of [
          ['nft', 'flush', 'ruleset'],
          ['nft', 'delete', 'table', 'inet', 'skep'],
        ]) {
          a.run(...rules);
          t.same(await repair(), { parts: 0, rules: true }, rules.join(' '));
        }
        a.run('nft', 'add', 'rule', 'inet', 'skep', 'outgoing', 'drop');
        t.same(await repair(), { parts: 0, rules: true }, 'somebody added a rule to our table');
        t.same(await repair(), { parts: 0, rules: false });
        // As Docker Engine does when it starts: our rules in its chain are missing from then on.
        a.run('iptables', '-P', 'FORWARD', 'DROP');
        t.same(await repair(), { parts: 0, rules: true }, 'iptables keeps our traffic out');
        t.same(await repair(), { parts: 0, rules: false });
        a.run('iptables', '-F', 'FORWARD');
        t.same(await repair(), { parts: 0, rules: true }, 'iptables lost our rules');
        t.same(await repair(), { parts: 0, rules: false });
        a.run('nft', 'add', 'table', 'inet', 'other');
        t.same(await repair(), { parts: 0, rules: false }, 'what others do in tables of theirs');
        await works();
      },
      { forceClsact, forceTunnelDevice: forceClsact },
    );
  });
}

await t.test('rows that vanish from the kernel are missed', async (t) => {
  await withCluster(t, async ({ a }) => {
    const before = await a.dump();
    const pin = `${a.directory}/skep/maps`;
    for (const map of ['sw_endpoint', 'sw_service', 'sw_backend', 'sw_node', 'sw_network']) {
      const rows = JSON.parse(a.run('bpftool', '-j', 'map', 'dump', 'pinned', `${pin}/${map}`)) as {
        key: string[];
      }[];
      t.ok(rows.length > 0, `${map} holds rows`);
      for (const { key } of rows) {
        a.run(
          'bpftool',
          'map',
          'delete',
          'pinned',
          `${pin}/${map}`,
          'key',
          'hex',
          ...key.map((byte) => byte.slice(2)),
        );
      }
    }
    const after = await a.dump();
    for (const table of [
      'nodes',
      'networks',
      'links',
      'remoteEndpoints',
      'backends',
      'services',
    ] as const) {
      t.ok(before[table].length > 0, table);
      t.same(after[table], [], `${table} are reported as missing`);
    }
  });
});
