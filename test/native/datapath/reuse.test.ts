/**
 * Client ports that are used again: short connections from one client to the same backend through
 * two nodes in turn. The next connection must not meet anything the one before it has left at the
 * backend, whether that one is over or not. Judged by the kernels' counters, not by time.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CLIENT_ADDRESS, INGRESS, OVERLAY, startCluster, TARGET_PORT } from './cluster.js';
import { type Actor, inside, type NodeOptions, World } from './world.js';
import { age } from './flow-rows.js';
import type { ConnectionRow } from '../../../src/native/datapath-types.js';

const ECHO_PORT = 8100;
const FAREWELL_PORT = 8101;
const FAREWELL_TARGET_PORT = 82;
const PORTS = 200;
const SLOW_PORT = 8102;
const SLOW_TARGET_PORT = 83;
const SLOW_PORTS = 20;
/** How long the slow task keeps each socket: ample for a client to end and to come again. */
const HELD_MS = 100;
/** What the slow task says by its exit status where the kernel cannot do it. */
const UNSUPPORTED = 77;
const SLOW_SOURCE = fileURLToPath(
  new URL('../../../../test/native/datapath/slow-task.c', import.meta.url),
);

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

/** Segments the kernel of a namespace has sent again. */
function retransmitted(actor: Actor): number {
  const rows = inside(actor, 'cat', '/proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  const column = rows[0]?.indexOf('RetransSegs') ?? -1;
  const value = Number(rows[1]?.[column]);
  if (Number.isNaN(value)) throw new Error('no RetransSegs in /proc/net/snmp');
  return value;
}

/** Starts the slow task in a container; what ends it, or undefined where the kernel cannot do it. */
async function startSlowTask(actor: Actor): Promise<(() => Promise<void>) | undefined> {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-slow-'));
  try {
    const tool = path.join(directory, 'slow-task');
    execFileSync('gcc', ['-O2', '-Wall', '-pthread', '-o', tool, SLOW_SOURCE]);
    const enter = ['-t', String(actor.pid), '-n', '--', tool];
    const child = spawn('nsenter', [...enter, String(SLOW_TARGET_PORT), String(HELD_MS)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const ready = once(child.stdout, 'data').then(() => 'ready');
    const first = await Promise.race([ready, exited.then(([status]: unknown[]) => status)]);
    if (first === UNSUPPORTED) return undefined;
    if (first !== 'ready') throw new Error(`the slow task ended with ${String(first)}`);
    return async () => {
      child.kill('SIGKILL');
      await exited;
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function isReply({ kind, destination }: ConnectionRow): boolean {
  return kind === 'reply' && destination === CLIENT_ADDRESS;
}

const VARIANTS: readonly [string, NodeOptions][] = [
  ['tcx, directly', {}],
  ['clsact, tunnel device', { forceClsact: true, forceTunnelDevice: true }],
];

for (const [variant, options] of VARIANTS)
  await t.test(`client ports used again through another node (${variant})`, async (t) => {
    const world = new World();
    t.teardown(async () => await world.close());
    const { client, a, b, webB, plainA } = await startCluster(world, options);
    const backends = [{ vni: INGRESS, address: '10.0.0.12' }];
    for (const node of [a, b])
      await node.datapath('putServices', [
        {
          key: { kind: 'published', protocol: 'tcp', port: ECHO_PORT },
          targetPort: TARGET_PORT,
          backends,
        },
        {
          key: { kind: 'published', protocol: 'tcp', port: FAREWELL_PORT },
          targetPort: FAREWELL_TARGET_PORT,
          backends,
        },
        {
          key: { kind: 'published', protocol: 'tcp', port: SLOW_PORT },
          targetPort: SLOW_TARGET_PORT,
          backends,
        },
      ]);
    await webB.call('serveFarewell', FAREWELL_TARGET_PORT);
    const borrowed = async (): Promise<number> =>
      (await b.counters())['service-port-borrowed'] ?? 0;
    const both = (port: number) => [b, a].map((node) => ({ host: node.address, port }));

    await t.test('a lent port that its owner has used since', async (t) => {
      const localPort = 44_000;
      const atTask = async () => {
        const rows = (await b.datapath('connections', 10_000)) as readonly ConnectionRow[];
        return new Set(rows.filter(isReply).map(({ destinationPort }) => destinationPort));
      };
      const before = await atTask();
      await client.call('visitInTurn', both(ECHO_PORT), localPort, 1, 1, 'reset');
      const lent = [...(await atTask())].find((port) => port !== localPort && !before.has(port));
      t.ok(lent !== undefined, 'the second connection has another port');
      // Long enough ago that both tuples may be given away.
      t.ok(age(b, 20) > 0);
      const targets = [{ host: a.address, port: ECHO_PORT }];
      await client.call('visitInTurn', targets, lent, 1, 1, 'reset');
      await client.call('visitInTurn', targets, localPort, 1, 1, 'reset');
    });

    for (const { ending, port, firstPort, rounds } of [
      { ending: 'reset', port: ECHO_PORT, firstPort: 40_000, rounds: 3 },
      // A client that ends first may not use a port towards the same node again for a minute.
      { ending: 'client', port: ECHO_PORT, firstPort: 41_000, rounds: 1 },
      { ending: 'server', port: FAREWELL_PORT, firstPort: 42_000, rounds: 3 },
    ] as const) {
      await t.test(`ended by: ${ending}`, async (t) => {
        const before = { client: retransmitted(client), task: retransmitted(webB) };
        const portsBefore = await borrowed();
        const visits = await client.call(
          'visitInTurn',
          both(port),
          firstPort,
          PORTS,
          rounds,
          ending,
        );
        t.equal(visits, PORTS * rounds * 2);
        t.equal(retransmitted(client) - before.client, 0, 'the client sent nothing twice');
        t.equal(retransmitted(webB) - before.task, 0, 'the task sent nothing twice');
        // Whichever side ended it: the other node's flow gets one other port, and keeps it. One in 300 is
        // among those the client uses itself, which then needs another, too.
        const others = (await borrowed()) - portsBefore;
        t.ok(others >= PORTS && others <= PORTS * 1.1, `${others} other ports for ${PORTS}`);
      });
    }

    await t.test('a reset that the task has not looked at yet', async (t) => {
      const stop = await startSlowTask(webB);
      if (stop === undefined) {
        t.comment('this kernel gives no userfaultfd');
        return;
      }
      try {
        const before = retransmitted(client);
        const targets = both(SLOW_PORT);
        await client.call('visitInTurn', targets, 45_000, SLOW_PORTS, 1, 'reset');
        t.equal(retransmitted(client) - before, 0, 'the client sent nothing twice');
      } finally {
        await stop();
      }
    });

    await t.test('a connection that is not over keeps its port', async (t) => {
      const localPort = 43_000;
      await client.call('startStream', { host: b.address, port: ECHO_PORT, localPort });
      const targets = [{ host: a.address, port: ECHO_PORT }];
      const before = retransmitted(client);
      const portsBefore = await borrowed();
      await client.call('visitInTurn', targets, localPort, 1, 50, 'reset');
      t.equal((await borrowed()) - portsBefore, 1, 'one other port, used again');
      t.equal(retransmitted(client), before);
      const { answered } = await client.tally();
      await client.call('visitInTurn', targets, localPort, 1, 1, 'reset');
      const seen = (await client.call('hold', { host: a.address, port: ECHO_PORT, localPort })) as {
        address: string;
        port: number;
      };
      t.equal(seen.address, CLIENT_ADDRESS);
      t.not(seen.port, localPort);
      while ((await client.tally()).answered <= answered) await client.tally();
      t.equal((await client.tally()).failure, undefined);
    });

    await t.test('a task asked through its virtual address, then at its own', async (t) => {
      const virtual = '10.0.1.101';
      const task = '10.0.1.12';
      await a.datapath('putServices', [
        {
          key: { kind: 'vip', vni: OVERLAY, address: virtual },
          backends: [{ vni: OVERLAY, address: task }],
        },
      ]);
      const targets = [virtual, task].map((host) => ({ host, port: TARGET_PORT }));
      const before = retransmitted(plainA);
      for (const [ending, firstPort, rounds] of [
        ['reset', 50_000, 3],
        ['client', 51_000, 1],
      ] as const) {
        const visits = await plainA.call('visitInTurn', targets, firstPort, PORTS, rounds, ending);
        t.equal(visits, PORTS * rounds * 2);
      }
      t.equal(retransmitted(plainA), before, 'the client sent nothing twice');
      // A port that the client has chosen itself stays its own towards the task.
      for (const [localPort, borrows] of [
        [7946, true],
        [52_000, false],
      ] as const) {
        const asked = { port: TARGET_PORT, localPort };
        const through = await plainA.askUdp({ ...asked, host: virtual });
        t.match(through, {
          name: 'web-b',
          address: '10.0.1.21',
          peer: `${virtual}:${TARGET_PORT}`,
        });
        t.equal(through.port !== localPort, borrows);
        if (!borrows) continue;
        const direct = await plainA.askUdp({ ...asked, host: task });
        t.match(direct, { port: localPort, peer: `${task}:${TARGET_PORT}` });
        t.equal((await plainA.askUdp({ ...asked, host: virtual })).port, through.port);
      }
    });

    await t.test('a published port of the own node, asked by a container', async (t) => {
      const before = retransmitted(plainA);
      const targets = [{ host: a.address, port: ECHO_PORT }];
      t.equal(await plainA.call('visitInTurn', targets, 44_000, PORTS, 3, 'reset'), PORTS * 3);
      t.equal(retransmitted(plainA), before);
    });
  });
