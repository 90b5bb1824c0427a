/**
 * Published ports are taken on the host: a process that asks for one is refused, the kernel picks none
 * by itself, and both follow what is published.
 */
import t from 'tap';
import { CLIENT_ADDRESS, type Cluster, INGRESS, PUBLISHED_PORT, startCluster } from './cluster.js';
import { type Actor, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const NODE_ADDRESS = '192.168.77.11';
const SECOND_ADDRESS = '192.168.77.21';
/** Own address that published ports do not answer on. */
const UNRELATED = '172.31.0.1';
const TAKEN = 'EADDRINUSE';
const LIST = '/proc/sys/net/ipv4/ip_local_reserved_ports';
const ALL = ['0.0.0.0', '::', '::ffff:0.0.0.0'];
const LOOPBACK = ['127.0.0.1', '127.0.0.9', '::1', '::ffff:127.0.0.1'];
const OWN = [NODE_ADDRESS, `::ffff:${NODE_ADDRESS}`];

function row(port: number, more: object = {}, address?: string) {
  return {
    key: {
      kind: 'published',
      protocol: 'tcp',
      port,
      ...(address === undefined ? {} : { address }),
    },
    targetPort: 80,
    backends: [{ vni: INGRESS, address: '10.0.0.11' }],
    ...more,
  };
}

async function bind(at: Actor, protocol: 'tcp' | 'udp', port: number, host: string) {
  return (await at.call('bindOnce', protocol, port, host)) as string;
}

function reserved(node: WorldNode): string {
  return node.run('cat', LIST).trim();
}

async function startWorld(): Promise<Cluster> {
  const cluster = await startCluster(new World());
  const { a } = cluster;
  a.run('ip', 'addr', 'add', `${SECOND_ADDRESS}/24`, 'dev', 'eth0');
  a.run('ip', 'addr', 'add', `${UNRELATED}/32`, 'dev', 'lo');
  await a.datapath('setLocalAddresses', [NODE_ADDRESS, SECOND_ADDRESS]);
  return cluster;
}

await t.test('a process that asks for a published port', async (t) => {
  const { world, a, client, webA } = await startWorld();
  t.teardown(async () => await world.close());
  const host = a.holder;

  await t.test('is told that it is taken, on every address that is served', async (t) => {
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const address of [...ALL, ...LOOPBACK, ...OWN]) {
        t.equal(await bind(host, protocol, PUBLISHED_PORT, address), TAKEN, address);
      }
      for (const address of ALL) t.equal(await bind(host, protocol, 8081, address), 'bound');
      t.equal(await bind(host, protocol, PUBLISHED_PORT, UNRELATED), 'bound', 'not served');
    }
    t.equal(await bind(host, 'tcp', PUBLISHED_PORT, '192.0.2.1'), 'EADDRNOTAVAIL');
  });

  await t.test('may have it in another namespace, and another protocol', async (t) => {
    for (const other of [webA, client]) {
      for (const address of ['0.0.0.0', '127.0.0.1', '::']) {
        t.equal(await bind(other, 'tcp', PUBLISHED_PORT, address), 'bound');
      }
    }
    await a.datapath('putServices', [row(9000)]);
    t.equal(await bind(host, 'tcp', 9000, '0.0.0.0'), TAKEN);
    t.equal(await bind(host, 'udp', 9000, '0.0.0.0'), 'bound');
    await a.datapath('removeServices', [row(9000).key]);
    t.equal(await bind(host, 'tcp', 9000, '0.0.0.0'), 'bound', 'published no more');
  });

  await t.test('of a range', async (t) => {
    await a.datapath('putServices', [row(20_000, { ports: 10_000 })]);
    for (const port of [20_000, 25_001, 29_999])
      t.equal(await bind(host, 'tcp', port, '::'), TAKEN);
    for (const port of [19_999, 30_000]) t.equal(await bind(host, 'tcp', port, '::'), 'bound');
    await a.datapath('removeServices', [row(20_000).key]);
    t.equal(await bind(host, 'tcp', 25_001, '::'), 'bound');
  });

  await t.test('of a service without tasks, or that is no more', async (t) => {
    await a.datapath('putServices', [row(9000, { backends: [] })]);
    t.equal(await bind(host, 'tcp', 9000, '0.0.0.0'), TAKEN, 'it is the service that has it');
    await a.datapath('putServices', [row(9000, { backends: [], retired: true })]);
    t.equal(await bind(host, 'tcp', 9000, '0.0.0.0'), 'bound', 'kept for old connections only');
    await a.datapath('removeServices', [row(9000).key]);
  });

  await t.test('of one address', async (t) => {
    await a.datapath('putServices', [row(9000, {}, SECOND_ADDRESS)]);
    await a.datapath('putServices', [row(9000, { backends: [], addressed: true })]);
    t.equal(await bind(host, 'tcp', 9000, SECOND_ADDRESS), TAKEN);
    for (const address of [NODE_ADDRESS, '127.0.0.1', '::1', '0.0.0.0']) {
      t.equal(await bind(host, 'tcp', 9000, address), 'bound', `${address}: the host's`);
    }
    await a.datapath('putServices', [row(9000, {}, '127.0.0.1')]);
    for (const address of LOOPBACK) t.equal(await bind(host, 'tcp', 9000, address), TAKEN);
    t.equal(await bind(host, 'tcp', 9000, NODE_ADDRESS), 'bound');
    await a.datapath('removeServices', [
      row(9000, {}, SECOND_ADDRESS).key,
      row(9000, {}, '127.0.0.1').key,
      row(9000).key,
    ]);
  });

  await t.test('while nobody runs the data path', async (t) => {
    await a.agent.kill();
    t.equal(await bind(host, 'tcp', PUBLISHED_PORT, '0.0.0.0'), TAKEN);
    await world.openAgent(a);
    t.equal(await bind(host, 'tcp', PUBLISHED_PORT, '0.0.0.0'), TAKEN);
  });

  await t.test('and has it already: the service is served, the process stays', async (t) => {
    await host.call('setName', 'host');
    await host.call('serveTcp', 9000);
    const target = { host: NODE_ADDRESS, port: 9000 };
    t.equal((await client.askTcp(target)).name, 'host');
    await a.datapath('putServices', [row(9000)]);
    for (const asker of [client, host]) t.equal((await asker.askTcp(target)).name, 'web-a');
    await a.datapath('removeServices', [row(9000).key]);
    t.equal((await client.askTcp(target)).name, 'host');
  });
});

await t.test('the kernel picks no published port', async (t) => {
  const { world, a, client } = await startWorld();
  t.teardown(async () => await world.close());
  const host = a.holder;
  await client.call('serveTcp', 7000);

  await t.test('for a connection out of the host: its answers would not arrive', async (t) => {
    const target = { host: CLIENT_ADDRESS, port: 7000, timeoutMs: 300 };
    await a.datapath('putServices', [row(40_000, { ports: 3 })]);
    t.equal(reserved(a), '8080,40000-40002');
    a.run('sysctl', '-qw', 'net.ipv4.ip_local_port_range=40000 40063');
    for (let i = 0; i < 5; i++) {
      t.ok((await host.askTcp(target)).port > 40_002);
      for (const protocol of ['tcp', 'udp'] as const) {
        t.equal(await bind(host, protocol, 0, '0.0.0.0'), 'bound');
      }
    }
    a.run('sysctl', '-qw', 'net.ipv4.ip_local_reserved_ports=40003-40063');
    await t.rejects(host.askTcp(target), { code: 'ETIMEDOUT' }, 'so it would be');
    a.run('sysctl', '-qw', 'net.ipv4.ip_local_port_range=32768 60999');
    await a.datapath('removeServices', [row(40_000).key]);
  });

  await t.test('and what somebody else keeps away stays so', async (t) => {
    a.run('sysctl', '-qw', 'net.ipv4.ip_local_reserved_ports=5000,8080,9000-9002');
    await a.datapath('putServices', [row(9001), row(9002), row(9003), row(20_000, { ports: 5 })]);
    t.equal(reserved(a), '5000,8080,9000-9003,20000-20004');
    await a.agent.kill();
    await world.openAgent(a);
    t.equal(reserved(a), '5000,8080,9000-9003,20000-20004');
    a.run('sysctl', '-qw', 'net.ipv4.ip_local_reserved_ports=5000,9001');
    t.match(await a.datapath('repair'), { parts: 1 });
    t.equal(reserved(a), '5000,8080,9001-9003,20000-20004', 'ours are put back');
    await a.datapath('removeServices', [row(9001).key, row(9003).key, row(20_000).key]);
    t.equal(reserved(a), '5000,8080,9001-9002', '9001 is not ours');
    await a.datapath('destroy');
    t.equal(reserved(a), '5000,9001', 'nothing of ours is left');
  });

  await t.test('also of very many', async (t) => {
    await world.openAgent(a, { limits: { services: 4096 } });
    const ports = Array.from({ length: 200 }, (_, index) => 10_000 + index * 2);
    for (let first = 0; first < 10; first++) {
      const rows = ports.map((port) => row(port + first * 1000));
      await a.datapath('putServices', rows);
    }
    const wanted = Array.from({ length: 10 }, (_, first) =>
      ports.map((port) => String(port + first * 1000)),
    ).flat();
    t.equal(reserved(a), ['5000', '9001', ...wanted].join(','));
  });
});
