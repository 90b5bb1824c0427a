/**
 * Hosts with several underlay interfaces: tunnels take the routes, programs are where tunnels come in,
 * and both follow routes and interfaces that change. Also data path ports other than the default.
 */
import t, { type Test } from 'tap';
import { type Cluster, PUBLISHED_PORT, names, startCluster, TARGET_PORT } from './cluster.js';
import { inside, type NodeOptions, World, type WorldNode } from './world.js';

t.setTimeout(300_000);

const OTHER_PORT = 7777;

async function start(t: Test, options: NodeOptions = {}): Promise<Cluster> {
  const world = new World();
  t.teardown(async () => await world.close());
  return await startCluster(world, options);
}

/** A second interface on a switch of its own. */
function addInterface(cluster: Cluster, node: WorldNode, name: string): void {
  const port = `${name}-${node.address.split('.')[3]}`;
  const address = secondAddress(node);
  // Always the same: the other node's neighbour table would hold on to the former one for a while.
  const mac = ['address', `02:88:00:00:00:${node.address.split('.')[3]}`];
  node.run('ip', 'link', 'add', name, ...mac, 'type', 'veth', 'peer', 'name', port);
  node.run('ip', 'link', 'set', port, 'netns', String(cluster.client.pid));
  node.run('ip', 'addr', 'add', `${address}/24`, 'dev', name);
  node.run('ip', 'link', 'set', name, 'up');
  inside(cluster.client, 'ip', 'link', 'set', port, 'master', 'br1', 'up');
}

function secondAddress(node: WorldNode): string {
  return node.address.replace('.77.', '.88.');
}

function route(node: WorldNode, to: WorldNode, verb: 'replace' | 'del'): void {
  node.run('ip', 'route', verb, `${to.address}/32`, 'via', secondAddress(to));
}

interface Link {
  readonly ifindex: number;
  readonly ifname: string;
  readonly mtu: number;
  readonly stats64: { readonly tx: { readonly packets: number } };
}

function links(node: WorldNode): readonly Link[] {
  return JSON.parse(node.run('ip', '-s', '-j', 'link', 'show')) as Link[];
}

function linkOf(node: WorldNode, name: string): Link | undefined {
  return links(node).find(({ ifname }) => ifname === name);
}

/** Packets a node has sent through an interface. */
function sent(node: WorldNode, name: string): number {
  return linkOf(node, name)?.stats64.tx.packets ?? 0;
}

/** Interfaces with the program for underlays, by name. */
function programsOn(node: WorldNode): readonly string[] {
  // tcx links are pinned under the interface's index; filters are shown by bpftool.
  const pins = node.run('ls', `${node.directory}/skep/links`);
  const shown = node.run('bpftool', 'net', 'show');
  return links(node)
    .filter(({ ifindex, ifname }) => {
      const filter = new RegExp(`^${ifname}\\(${ifindex}\\).*skep_uplink`, 'm');
      return new RegExp(`^uplink-${ifindex}$`, 'm').test(pins) || filter.test(shown);
    })
    .map(({ ifname }) => ifname)
    .sort();
}

for (const forceClsact of [false, true]) {
  await t.test(`routes decide (${forceClsact ? 'clsact' : 'tcx'})`, async (t) => {
    const cluster = await start(t, { forceClsact });
    const { client, a, b, webA } = cluster;
    inside(client, 'ip', 'link', 'add', 'br1', 'type', 'bridge');
    inside(client, 'ip', 'link', 'set', 'br1', 'up');
    const web = { host: '10.0.1.12', port: TARGET_PORT, timeoutMs: 1000 };
    const published = { host: a.address, port: PUBLISHED_PORT, timeoutMs: 1000 };
    const look = async () =>
      await Promise.all([a, b].map(async (node) => await node.agent.call('lookAtUnderlay')));
    for (const [node, other] of [
      [a, b],
      [b, a],
    ] as const) {
      await node.agent.call('openUnderlay', node.address);
      t.equal(await node.agent.call('followUnderlay', [other.address]), false, 'as it is');
      addInterface(cluster, node, 'eth1');
    }
    t.same(await look(), [false, false], 'an interface no route uses is left alone');

    await t.test('over another interface than that of the data path address', async (t) => {
      route(a, b, 'replace');
      route(b, a, 'replace');
      t.same(await look(), [true, true]);
      for (const node of [a, b]) t.same(programsOn(node), ['eth0', 'eth1']);
      const before = [sent(a, 'eth1'), sent(b, 'eth1')] as const;
      for (let turn = 0; turn < 20; turn += 1) t.equal((await webA.askUdp(web)).name, 'web-b');
      t.equal((await webA.askTcp(web)).name, 'web-b');
      t.ok(sent(a, 'eth1') >= before[0] + 20 && sent(b, 'eth1') >= before[1] + 20, 'both ways');
      t.same(await names(() => client.askTcp(published)), ['web-a', 'web-b'], 'published too');
      t.equal((await b.counters())['drop-foreign-tunnel'], 0);
      await a.datapath('sendEchoes', [b.address]);
    });

    await t.test('an interface that is made anew', async (t) => {
      a.run('ip', 'link', 'del', 'eth1');
      addInterface(cluster, a, 'eth1');
      route(a, b, 'replace');
      t.same(await look(), [true, false]);
      t.same(programsOn(a), ['eth0', 'eth1']);
      t.equal((await webA.askTcp(web)).name, 'web-b');
      t.same(await look(), [false, false]);
    });

    await t.test('an interface that is down, and one that is gone', async (t) => {
      a.run('ip', 'link', 'set', 'eth1', 'down');
      route(b, a, 'del');
      t.same(await look(), [true, true]);
      for (const node of [a, b]) t.same(programsOn(node), ['eth0']);
      t.equal((await webA.askTcp(web)).name, 'web-b', 'the other route');
      t.same(await names(() => client.askTcp(published)), ['web-a', 'web-b']);
      a.run('ip', 'link', 'set', 'eth1', 'up');
      route(a, b, 'replace');
      route(b, a, 'replace');
      t.same(await look(), [true, true]);
      t.equal((await webA.askTcp(web)).name, 'web-b', 'up again');
      a.run('ip', 'link', 'del', 'eth1');
      route(b, a, 'del');
      t.same(await look(), [true, true]);
      t.equal((await webA.askTcp(web)).name, 'web-b', 'gone');
    });

    await t.test('its MTU is that of containers made from now on', async (t) => {
      a.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
      t.same(await look(), [true, false]);
      t.equal(linkOf(a, 'sw-h0')?.mtu, 1350);
      t.equal(await a.agent.call('containerMtu'), 1350);
    });
  });
}

await t.test('another data path port', async (t) => {
  const { a, b, webA, client } = await start(t, { tunnelPort: OTHER_PORT });
  const ask = { host: '10.0.1.12', port: TARGET_PORT, timeoutMs: 1000 };
  t.equal((await webA.askTcp(ask)).name, 'web-b');
  const published = { host: a.address, port: PUBLISHED_PORT, timeoutMs: 1000 };
  t.same(await names(() => client.askTcp(published)), ['web-a', 'web-b']);
  for (const node of [a, b]) {
    t.match(node.run('ip', '-d', 'link', 'show', 'sw-vx0'), `dstport ${OTHER_PORT} `);
    t.match(node.run('nft', 'list', 'table', 'inet', 'skep'), `${OTHER_PORT}`);
    t.notMatch(node.run('nft', 'list', 'table', 'inet', 'skep'), '4789');
  }
});
