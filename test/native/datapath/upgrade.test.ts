/**
 * A newer skepd takes the data path over under load: killed before any step of it, with tables whose
 * rows have got longer or mean something else, and with leftovers of versions that had more.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Cluster, PUBLISHED_PORT, startCluster, TARGET_PORT, VIP } from './cluster.js';
import type { DatapathState } from '../../../src/native/datapath-types.js';
import { type Actor, World, type WorldNode } from './world.js';

t.setTimeout(300_000);

const SOURCE = fileURLToPath(new URL('../../../../test/native/datapath/crash.c', import.meta.url));
/** Steps there must be at least: each program's link, the array of programs, its name. */
const STEPS_MIN = 15;

/** Ends the names of programs of another build. */
const FORMER = '-former';

const directory = mkdtempSync(path.join(tmpdir(), 'skep-upgrade-'));
const CRASH = path.join(directory, 'crash.so');
t.teardown(() => rmSync(directory, { recursive: true }));
execFileSync('gcc', ['-O2', '-Wall', '-shared', '-fPIC', '-o', CRASH, SOURCE, '-ldl']);

async function start(t: Test): Promise<Cluster> {
  const world = new World();
  t.teardown(async () => await world.close());
  return await startCluster(world);
}

/** Names pinned in one of the node's directories. */
function pins(node: WorldNode, kind: 'maps' | 'links' | 'programs'): readonly string[] {
  return node.run('ls', `${node.directory}/skep/${kind}`).trim().split('\n');
}

/** What all this is about: every pin of a node. */
function allPins(node: WorldNode): readonly (readonly string[])[] {
  return [pins(node, 'maps'), pins(node, 'links'), pins(node, 'programs')];
}

/** Makes the programs in force those of another build, which differ in every one. */
function becomeAnotherBuild(node: WorldNode): void {
  const directory = `${node.directory}/skep/programs`;
  for (const name of pins(node, 'programs'))
    if (!name.endsWith(FORMER))
      node.run('mv', `${directory}/${name}`, `${directory}/${name}${FORMER}`);
}

/** Kernel's numbers of the programs in force, by pin. */
function programIds(node: WorldNode): readonly string[] {
  const directory = `${node.directory}/skep/programs`;
  return pins(node, 'programs').map((name) => {
    const text = node.run('bpftool', '-j', 'prog', 'show', 'pinned', `${directory}/${name}`);
    return `${name} ${(JSON.parse(text) as { id: number }).id}`;
  });
}

/** Streams through a published port, through a virtual address and between containers. */
async function load({ client, a, plainA, webA }: Cluster): Promise<readonly Actor[]> {
  await client.call('startStream', { host: a.address, port: PUBLISHED_PORT });
  await plainA.call('startStream', { host: VIP, port: TARGET_PORT });
  await webA.call('startStream', { host: '10.0.1.12', port: TARGET_PORT });
  return [client, plainA, webA];
}

/** All streams go on, and new connections, for which programs go on in others, are answered. */
async function works(cluster: Cluster, streams: readonly Actor[]): Promise<void> {
  const { client, a, plainA } = cluster;
  for (const stream of streams) {
    const { answered } = await stream.tally();
    const end = Date.now() + 5000;
    while ((await stream.tally()).answered <= answered + 2) {
      if (Date.now() > end) throw new Error('a stream has stopped');
      await sleep(5);
    }
  }
  const patience = { timeoutMs: 1000 };
  for (let turn = 0; turn < 4; turn += 1) {
    await client.askTcp({ host: a.address, port: PUBLISHED_PORT, ...patience });
    await plainA.askUdp({ host: VIP, port: TARGET_PORT, ...patience });
  }
}

await t.test('killed before each step of a take-over, under load', async (t) => {
  const cluster = await start(t);
  const { world, a } = cluster;
  const streams = await load(cluster);
  const before = await a.dump();
  const clean = allPins(a);
  const counted = path.join(directory, 'steps');
  await a.agent.kill();
  becomeAnotherBuild(a);
  await world.openAgent(a, {}, ['env', `LD_PRELOAD=${CRASH}`, `SKEP_TEST_STEPS=${counted}`]);
  const steps = statSync(counted).size;
  t.ok(steps >= STEPS_MIN, `${steps} steps`);
  // From the last to the first: what an earlier one got into force must outlive the later ones' beginnings.
  for (let step = steps; step > 0; step -= 1) {
    await a.agent.kill();
    becomeAnotherBuild(a);
    const command = ['env', `LD_PRELOAD=${CRASH}`, `SKEP_TEST_CRASH_AT=${step}`];
    await t.rejects(world.openAgent(a, {}, command), /the actor has ended/);
    await works(cluster, streams);
  }
  await world.openAgent(a);
  await works(cluster, streams);
  t.same(allPins(a), clean, 'nothing is left of those that were killed');
  t.same(await a.dump(), before);
  for (const stream of streams) {
    t.equal(((await stream.call('stopStream')) as { failure?: string }).failure, undefined);
  }
});

await t.test('the same build again, under load', async (t) => {
  const cluster = await start(t);
  const { world, a } = cluster;
  const streams = await load(cluster);
  const clean = allPins(a);
  const before = programIds(a);
  await a.agent.kill();
  await world.openAgent(a);
  t.same(programIds(a), before, 'its programs go on, nothing is verified again');
  await works(cluster, streams);

  const [first = ''] = pins(a, 'programs');
  await a.agent.kill();
  a.run('rm', `${a.directory}/skep/programs/${first}`);
  await world.openAgent(a);
  await works(cluster, streams);
  t.same(allPins(a), clean);
  const calls = ['bpftool', '-j', 'map', 'show', 'pinned', `${a.directory}/skep/maps/sw_calls`];
  const { id } = JSON.parse(a.run(...calls)) as { id: number };
  for (const pin of pins(a, 'programs')) {
    const shown = a.run(
      ...['bpftool', '-j', 'prog', 'show', 'pinned', `${a.directory}/skep/programs/${pin}`],
    );
    const { map_ids: maps } = JSON.parse(shown) as { map_ids: readonly number[] };
    const callers = /^(from_container|from_uplink|from_overlay)-/;
    if (callers.test(pin)) t.ok(maps.includes(id), `${pin} calls through the array in force`);
  }
  for (const stream of streams) {
    t.equal(((await stream.call('stopStream')) as { failure?: string }).failure, undefined);
  }
});

await t.test('rows of a former version', async (t) => {
  const cluster = await start(t);
  const { world, a } = cluster;
  const maps = `${a.directory}/skep/maps`;
  const before = await a.dump();
  await a.agent.kill();
  await t.test('whose values were shorter are kept', async (t) => {
    const streams = await load(cluster);
    // The last field of sw_network holds flags, which none of these networks has.
    shorten(a, `${maps}/sw_network`, 40, 36);
    await world.openAgent(a);
    t.same(await a.agent.call('renewedMaps'), []);
    t.same(byNetwork(await a.dump()), byNetwork(before));
    t.match(a.run('bpftool', 'map', 'show', 'pinned', `${maps}/sw_network`), /value 40B/);
    await works(cluster, streams);
    for (const stream of streams) await stream.call('stopStream');
  });
  await t.test('that mean something else are not', async (t) => {
    await a.agent.kill();
    a.run(...['bpftool', 'map', 'update', 'pinned', `${maps}/sw_layout`], ...values(0, 99));
    await world.openAgent(a);
    const renewed = (await a.agent.call('renewedMaps')) as readonly string[];
    t.ok(renewed.includes('sw_service') && renewed.includes('sw_connection'));
    t.same((await a.dump()).services, [], 'nothing is read that cannot be understood');
    t.notOk(pins(a, 'maps').some((name) => name.includes('-')));
    await a.agent.kill();
    await world.openAgent(a);
    t.same(await a.agent.call('renewedMaps'), [], 'once');
  });
});

await t.test('leftovers', async (t) => {
  const cluster = await start(t);
  const { world, a } = cluster;
  const root = `${a.directory}/skep`;
  const clean = [pins(a, 'maps'), pins(a, 'links')];
  const streams = await load(cluster);
  // A table and a hook that this version does not have, a device that is gone, a broken-off take-over.
  a.run('bpftool', 'map', 'create', `${root}/maps/sw_former`, ...hash(4, 4, 1, 'sw_former'));
  a.run('bpftool', 'map', 'create', `${root}/maps/sw_calls-7`, ...programs('sw_calls'));
  await a.agent.kill();
  if (clean[1]?.some((name) => name.startsWith('overlay-')) === true) {
    a.run('ip', 'link', 'add', 'gone', 'type', 'veth', 'peer', 'name', 'gone-peer');
    await world.openAgent(a, { underlayInterfaces: ['eth0', 'gone'] });
    await a.agent.kill();
    a.run('ip', 'link', 'del', 'gone');
    const hook = `${root}/links/socket_connect4`;
    a.run('mv', hook, `${root}/links/socket_former`);
  }
  await world.openAgent(a);
  t.same([pins(a, 'maps'), pins(a, 'links')], clean);
  const attached = a.run('bpftool', 'cgroup', 'tree').match(/socket_connect4/g)?.length ?? 0;
  const others = a.run('bpftool', 'cgroup', 'tree').match(/socket_sendmsg4/g)?.length ?? 0;
  t.equal(attached, others, 'the hook under the unknown name is not there twice');
  await works(cluster, streams);
});

/** A table that is made anew has its rows in another order. */
function byNetwork(state: DatapathState): DatapathState {
  return { ...state, networks: state.networks.toSorted((one, other) => one.vni - other.vni) };
}

function values(key: number, value: number): readonly string[] {
  const bytes = (number: number) => [String(number), '0', '0', '0'];
  return ['key', ...bytes(key), 'value', ...bytes(value)];
}

function hash(key: number, value: number, entries: number, name: string): readonly string[] {
  const sizes = ['key', String(key), 'value', String(value), 'entries', String(entries)];
  // 1: BPF_F_NO_PREALLOC
  return ['type', 'hash', ...sizes, 'name', name, 'flags', '1'];
}

function programs(name: string): readonly string[] {
  return ['type', 'prog_array', 'key', '4', 'value', '4', 'entries', '5', 'name', name];
}

/** Puts a table in place of another, as a version would have made it whose values were shorter. */
function shorten(node: WorldNode, pin: string, from: number, to: number): void {
  const rows = JSON.parse(node.run('bpftool', '-j', 'map', 'dump', 'pinned', pin)) as {
    key: string[];
    value: string[];
  }[];
  node.run('bpftool', 'map', 'create', `${pin}-former`, ...hash(4, to, 64, path.basename(pin)));
  for (const { key, value } of rows) {
    if (value.length !== from) throw new Error(`a value has ${value.length} bytes`);
    node.run(
      ...['bpftool', 'map', 'update', 'pinned', `${pin}-former`],
      ...['key', ...key, 'value', ...value.slice(0, to)],
    );
  }
  node.run('rm', pin);
  node.run('mv', `${pin}-former`, pin);
}
