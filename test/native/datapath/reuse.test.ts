/**
 * Client ports that are used again: short connections from one client to the same backend through
 * two nodes in turn. A connection that is over must leave its port to the next at once, and one
 * that is not over must keep it. Judged by the kernels' counters, not by time.
 */
import t from 'tap';
import { CLIENT_ADDRESS, INGRESS, startCluster, TARGET_PORT } from './cluster.js';
import { type Actor, inside, type NodeOptions, World } from './world.js';

const ECHO_PORT = 8100;
const FAREWELL_PORT = 8101;
const FAREWELL_TARGET_PORT = 82;
const PORTS = 200;
/** Share of connections that may meet a packet of the former one late. */
const STRAY_SHARE_MAX = 0.005;

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
      ]);
    await webB.call('serveFarewell', FAREWELL_TARGET_PORT);
    const borrowed = async (): Promise<number> =>
      (await b.counters())['service-port-borrowed'] ?? 0;
    const both = (port: number) => [b, a].map((node) => ({ host: node.address, port }));

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
        // A reset and the next start may overtake each other on their ways through two nodes.
        const strays = Math.ceil(PORTS * rounds * 2 * STRAY_SHARE_MAX);
        const byClient = retransmitted(client) - before.client;
        const byTask = retransmitted(webB) - before.task;
        t.ok(byClient <= strays, `the client sent ${byClient} segments twice`);
        t.ok(byTask <= strays, `the task sent ${byTask} segments twice`);
        const taken = (await borrowed()) - portsBefore;
        // A task that ended first remembers the port for a minute: the other node's flow gets one
        // other port, and keeps it. Else none is needed, but for packets that overtake each other.
        if (ending === 'server') t.equal(taken, PORTS);
        else t.ok(taken <= PORTS / 10, `${taken} other ports taken`);
      });
    }

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

    await t.test('a published port of the own node, asked by a container', async (t) => {
      const before = retransmitted(plainA);
      const targets = [{ host: a.address, port: ECHO_PORT }];
      t.equal(await plainA.call('visitInTurn', targets, 44_000, PORTS, 3, 'reset'), PORTS * 3);
      t.equal(retransmitted(plainA), before);
    });
  });
