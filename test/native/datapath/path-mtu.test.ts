/**
 * Packets of outside clients that do not fit the tunnel to the backend's node: the node asked says
 * so in time, in both families, and the client's own stack believes it.
 */
import t from 'tap';
import { address6Of, INGRESS, startCluster, TARGET_PORT } from './cluster.js';
import { inside, type NodeOptions, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const PORT = 8200;
const HEADERS = { 4: 28, 6: 48 } as const;
const UNDERLAY_MTU = 1500;
const TRIES = 3;

const VARIANTS: readonly [string, NodeOptions][] = [
  ['tunnel over IPv4', {}],
  ['tunnel over IPv6', { tunnelOverIpv6: true }],
];

for (const [variant, options] of VARIANTS)
  await t.test(`too long for the tunnel (${variant})`, async (t) => {
    const world = new World();
    t.teardown(async () => await world.close());
    const { client, a, b } = await startCluster(world, options);
    const row = {
      key: { kind: 'published', protocol: 'udp', port: PORT },
      targetPort: TARGET_PORT,
      backends: [{ vni: INGRESS, address: '10.0.0.12' }],
    };
    for (const node of [a, b]) await node.datapath('putServices', [row]);
    const answered = async () => (await a.counters())['too-long-answered'] ?? 0;

    for (const [family, host] of [
      [4, a.address],
      [6, address6Of(a)],
    ] as const) {
      await t.test(`IPv${family}`, async (t) => {
        const fitting = a.containerMtu - HEADERS[family];
        const target = { host, port: PORT, timeoutMs: 1000 };
        t.equal((await client.askUdp({ ...target, payloadBytes: fitting })).bytes, fitting);
        t.equal(await answered(), 0 + (family === 6 ? 1 : 0), 'nothing to say so far');
        const payloadBytes = UNDERLAY_MTU - HEADERS[family];
        let bytes = 0;
        for (let i = 0; i < TRIES && bytes === 0; i++)
          bytes = await client.askUdp({ ...target, payloadBytes }).then(
            (seen) => seen.bytes,
            () => 0,
          );
        t.equal(bytes, payloadBytes, 'sent again in parts that fit');
        t.equal(await answered(), family === 6 ? 2 : 1, 'said once');
        const route = inside(client, 'ip', `-${family}`, 'route', 'get', host);
        t.match(route, new RegExp(`mtu ${a.containerMtu}`));
        // The node of the backend takes the same packet as it is: no tunnel is on the way.
        const near = family === 6 ? address6Of(b) : b.address;
        const local = await client.askUdp({ ...target, host: near, payloadBytes });
        t.equal(local.bytes, payloadBytes);
      });
    }
  });
