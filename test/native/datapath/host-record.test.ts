/**
 * What the data path changes on a host outside of its own devices is as before once it is gone: settings,
 * reserved ports, qdiscs; also if the process that changed it was killed and its pins were removed, and
 * never to the loss of what others want by now.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ForeignFilters } from './foreign-filter.js';
import { INGRESS, INGRESS6, startCluster } from './cluster.js';
import { type NodeOptions, World, type WorldNode } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const FORWARDING = 'net.ipv4.conf.eth0.forwarding';
const FORWARDING6 = 'net.ipv6.conf.all.forwarding';
const ACCEPT = 'net.ipv6.conf.eth0.accept_ra';
const LIST = 'net.ipv4.ip_local_reserved_ports';
const NETWORK = {
  vni: INGRESS,
  subnet: '10.0.0.0/24',
  subnet6: INGRESS6,
  gateway: '10.0.0.1',
  internal: false,
  nodeAddress: '10.0.0.2',
};
const SERVICE = {
  key: { kind: 'published', protocol: 'tcp', port: 8080 },
  targetPort: 80,
  backends: [],
};

/** A host on which no data path has been yet, that forwards nothing. */
async function freshHost(t: Test): Promise<{ world: World; a: WorldNode }> {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a } = await startCluster(world);
  await a.datapath('destroy');
  await a.agent.kill();
  a.run('ip', 'link', 'add', 'other', 'type', 'veth', 'peer', 'name', 'other-peer');
  set(a, 'net.ipv4.conf.all.forwarding', '0');
  set(a, FORWARDING6, '0');
  set(a, ACCEPT, '1');
  set(a, LIST, '5000');
  return { world, a };
}

function set(node: WorldNode, name: string, value: string): void {
  node.run('sysctl', '-qw', `${name}=${value}`);
}

function get(node: WorldNode, name: string): string {
  return node.run('sysctl', '-n', name).trim();
}

/** All settings of the host's network that do not change by themselves. */
function settings(node: WorldNode): readonly string[] {
  const lines = node
    .run('sysctl', '-a', '--pattern', '^net\\.ipv[46]\\.(conf|ip_local)')
    .split('\n');
  return lines.filter((line) => !line.includes('stable_secret'));
}

async function join(world: World, node: WorldNode, options: NodeOptions = {}): Promise<void> {
  await world.openAgent(node, options);
  await node.datapath('putNetworks', [NETWORK]);
  await node.datapath('putServices', [SERVICE]);
}

await t.test('settings and reserved ports', async (t) => {
  const { world, a } = await freshHost(t);
  // A device that forwards IPv6 although the host does not.
  set(a, 'net.ipv6.conf.other.forwarding', '1');
  const before = settings(a);

  await t.test('are as before, though skepd was killed and its pins removed', async (t) => {
    await join(world, a);
    t.same(
      [FORWARDING, FORWARDING6, ACCEPT, LIST].map((name) => get(a, name)),
      [...['1', '1', '2', '5000,8080']],
    );
    await a.agent.kill();
    a.run('rm', '-r', `${a.directory}/skep`);
    await world.openAgent(a);
    t.equal(get(a, LIST), '5000', 'nobody publishes it, so it is free at once');
    await a.datapath('destroy');
    t.same(settings(a), before);
    t.throws(() => readFileSync(a.recordFile), { code: 'ENOENT' });
  });

  await t.test('stay as somebody else wants them by now', async (t) => {
    await join(world, a);
    set(a, ACCEPT, '0');
    set(a, 'net.ipv4.conf.all.forwarding', '1');
    set(a, LIST, '5000,6000,8080');
    await a.datapath('destroy');
    t.equal(get(a, ACCEPT), '0');
    t.equal(get(a, FORWARDING), '1', 'an engine switched forwarding on for all devices');
    t.equal(get(a, LIST), '5000,6000');
    set(a, 'net.ipv4.conf.all.forwarding', '0');
  });

  await t.test(
    'that somebody else switches back are changed again, and his are kept',
    async (t) => {
      set(a, FORWARDING, '0');
      await join(world, a);
      set(a, FORWARDING, '0');
      await a.datapath('repair');
      t.equal(get(a, FORWARDING), '1');
      await a.datapath('destroy');
      t.equal(get(a, FORWARDING), '0');
    },
  );

  await t.test('of another boot are not put back', async (t) => {
    await join(world, a);
    await a.agent.kill();
    const record = readFileSync(a.recordFile, 'utf8');
    t.match(record, /^boot \S+ namespace \d+\nports 8080\n/);
    writeFileSync(a.recordFile, record.replace(/^boot \S+/, 'boot former'));
    await world.openAgent(a);
    await a.datapath('destroy');
    t.equal(get(a, LIST), '5000,6000,8080', 'then it is not ours');
    t.equal(get(a, FORWARDING), '1');
  });
});

await t.test('the qdisc of filters', async (t) => {
  const { world, a } = await freshHost(t);
  const clsact = { forceClsact: true };
  const qdiscs = () => a.run('tc', 'qdisc', 'show', 'dev', 'eth0', 'clsact').trim();
  const filters = (side: string) => a.run('tc', 'filter', 'show', 'dev', 'eth0', side);
  const foreign = new ForeignFilters(t);

  await t.test('goes with ours', async (t) => {
    await join(world, a, clsact);
    t.match(filters('ingress'), /skep_uplink/);
    await a.agent.kill();
    await join(world, a, clsact);
    await a.datapath('destroy');
    t.equal(qdiscs(), '');
  });

  await t.test('goes when tcx takes its place', async (t) => {
    await join(world, a, clsact);
    await a.agent.kill();
    await join(world, a);
    if ((await a.agent.call('usesTcx')) !== true) return;
    t.equal(qdiscs(), '');
    await a.datapath('destroy');
  });

  await t.test('goes from an interface that carries tunnels no more', async (t) => {
    await join(world, a, { ...clsact, underlayInterfaces: ['eth0', 'other'] });
    await a.agent.kill();
    await join(world, a, { ...clsact, underlayInterfaces: ['other'] });
    t.equal(qdiscs(), '');
    await a.datapath('destroy');
    t.equal(a.run('tc', 'qdisc', 'show', 'dev', 'other', 'clsact').trim(), '');
  });

  for (const side of ['ingress', 'egress'] as const) {
    await t.test(`stays while others have a filter on it (${side})`, async (t) => {
      await join(world, a, clsact);
      foreign.attach(a, 'eth0', { kind: 'clsact', side, priority: 10 });
      await a.datapath('destroy');
      t.match(filters(side), /pref 10 bpf/);
      t.notMatch(filters('ingress'), /skep/);
      a.run('tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact');
    });
  }

  await t.test('stays if it was there before, whoever uses it', async (t) => {
    a.run('tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
    await join(world, a, clsact);
    await a.datapath('destroy');
    t.match(qdiscs(), /clsact/);
  });
});
