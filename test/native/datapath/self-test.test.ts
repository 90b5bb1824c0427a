/**
 * The self-test of paths over the real data path, on paths that are broken in the ways networks break
 * them: a card that completes inner checksums wrongly, a stretch that loses long packets, a filter.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { PathReport, PathRow } from '../../../src/network/paths/types.js';
import { type Cluster, startCluster, TARGET_PORT } from './cluster.js';
import { compileBpf } from './compile-bpf.js';
import { completeOnCard, inside, World, type WorldNode } from './world.js';

t.setTimeout(300_000);

/** Both nodes' ids in cluster.ts. */
const ID_A = '10.0.0.2';
const ID_B = '10.0.0.3';
const STOCK = { owner: '', nodeId: '10.0.0.9', tunnelAddress: '192.168.77.19', answers: false };
/** What the operator is promised. */
const DETECTION_MS = 10_000;

const directory = mkdtempSync(path.join(tmpdir(), 'skep-self-test-'));
t.teardown(() => rmSync(directory, { recursive: true }));
const OBJECT = compileBpf('broken-path', directory);

/** Puts one of the programs on the egress of a node's underlay interface. */
function breakPath(node: WorldNode, program: string): void {
  node.run('tc', 'qdisc', 'replace', 'dev', 'eth0', 'clsact');
  node.run(
    ...['tc', 'filter', 'replace', 'dev', 'eth0', 'egress', 'prio', '7', 'handle', '1'],
    ...['bpf', 'da', 'obj', OBJECT, 'sec', `tc/${program}`],
  );
}

function mendPath(node: WorldNode): void {
  node.run('tc', 'filter', 'del', 'dev', 'eth0', 'egress');
}

async function pathOf(node: WorldNode): Promise<PathRow> {
  const { paths } = (await node.agent.call('paths')) as PathReport;
  const row = paths.find(({ answers }) => answers);
  if (row === undefined) throw new Error('no path');
  return row;
}

/** Waits for a state; how long it took. */
async function until(node: WorldNode, kind: PathRow['state']['kind']): Promise<PathRow> {
  const end = Date.now() + DETECTION_MS;
  for (;;) {
    const row = await pathOf(node);
    if (row.state.kind === kind) return row;
    if (Date.now() > end)
      throw new Error(`not within ${DETECTION_MS} ms: ${kind}, but ${row.text}`);
    await sleep(50);
  }
}

async function start(t: Test): Promise<Cluster> {
  const world = new World();
  t.teardown(async () => await world.close());
  const cluster = await startCluster(world);
  const { a, b } = cluster;
  const peerA = { owner: 'node-a', nodeId: ID_A, tunnelAddress: a.address, answers: true };
  const peerB = { owner: 'node-b', nodeId: ID_B, tunnelAddress: b.address, answers: true };
  await a.agent.call('openSelfTest', ID_A, [peerB, STOCK]);
  await b.agent.call('openSelfTest', ID_B, [peerA]);
  for (const node of [a, b]) await until(node, 'good');
  return cluster;
}

await t.test('an offload that breaks inner checksums', async (t) => {
  const { world, a, b, webA, webB } = await start(t);
  const report = (await a.agent.call('paths')) as PathReport;
  t.match(report.paths[1]?.text, /cannot be tested: a stock Docker Engine/);
  t.equal(report.softwareChecksums, false);
  const web = { host: '10.0.1.12', port: TARGET_PORT, timeoutMs: 1000 };

  completeOnCard(a);
  t.equal((await webA.askUdp(web)).name, 'web-b', 'a card that does it right is left alone');
  breakPath(a, 'bad_offload');
  await t.rejects(webA.askUdp(web), { code: 'ETIMEDOUT' }, 'containers lose their packets');
  await t.rejects(webA.askTcp(web));

  const end = Date.now() + DETECTION_MS;
  while (!((await a.agent.call('paths')) as PathReport).softwareChecksums) {
    if (Date.now() > end) throw new Error((await pathOf(a)).text);
    await sleep(50);
  }
  t.equal((await webA.askUdp(web)).name, 'web-b', 'they pass');
  t.equal((await webA.askTcp(web)).name, 'web-b');
  t.equal((await webB.askTcp({ ...web, host: '10.0.1.11' })).name, 'web-a', 'answers too');
  t.equal(await webB.call('fetchTcp', '10.0.1.11', TARGET_PORT, 4 << 20), 4 << 20, 'and a stream');
  await until(a, 'good');
  t.equal((await pathOf(b)).state.kind, 'good', 'the other node has nothing to complain about');
  t.equal(((await b.agent.call('paths')) as PathReport).softwareChecksums, false);

  await a.agent.kill();
  await world.openAgent(a);
  t.equal(await a.datapath('softwareChecksums'), true, 'a new process finds it so');
  t.equal((await webA.askTcp(web)).name, 'web-b');
});

await t.test('a stretch that loses long packets', async (t) => {
  const { a, b } = await start(t);
  breakPath(a, 'short_only');
  const row = await until(a, 'size');
  // 1,400 bytes outside are 1,350 inside.
  t.match(row.state, { kind: 'size', wantedBytes: 1450 });
  const largest = row.state.kind === 'size' ? row.state.largestBytes : 0;
  t.ok(largest <= 1350 && largest >= 1346, `largest that passes: ${largest}`);
  t.match(row.text, /do not pass to node-b \(192\.168\.77\.12\)/);
  t.equal((await pathOf(b)).state.kind, 'good', 'the way back carries them');
  t.equal(((await a.agent.call('paths')) as PathReport).softwareChecksums, false);
  mendPath(a);
  await until(a, 'good');
});

await t.test('a filter between the nodes', async (t) => {
  const { client, a, b } = await start(t);
  const rule = `ip saddr ${a.address} ip daddr ${b.address} udp dport 4789 drop`;
  inside(
    ...([client, 'nft'] as const),
    'add table bridge test;' +
      'add chain bridge test forward {type filter hook forward priority 0;};' +
      `add rule bridge test forward ${rule}`,
  );
  const row = await until(a, 'blocked');
  t.match(row.text, /node-b \(192\.168\.77\.12\).*open the data path's UDP port/);
  await until(b, 'blocked');
  inside(client, 'nft', 'delete', 'table', 'bridge', 'test');
  await until(a, 'good');
  await until(b, 'good');
});

await t.test('a peer whose skepd does not answer', async (t) => {
  const { a, b } = await start(t);
  await b.agent.kill();
  t.match((await until(a, 'unanswered')).text, /node-b .* does not answer/);
});
