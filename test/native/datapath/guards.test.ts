/**
 * What the data plane refuses: spoofed senders, strangers' tunnels, traffic between networks and out
 * of internal ones. Each refusal is counted under its reason.
 */
import t from 'tap';
import { CLIENT_ADDRESS, OVERLAY, startCluster, TARGET_PORT } from './cluster.js';
import { inside, TUNNEL_PORT, World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const QUICKLY = 300;
const ISOLATED = 4098;

/** A VXLAN packet with an inner UDP datagram from 10.0.1.66 to `destination`, port 80. */
function tunnelFrame(vni: number, destination: readonly number[]): string {
  const vxlan = [8, 0, 0, 0, vni >> 16, (vni >> 8) & 0xff, vni & 0xff, 0];
  const ethernet = [2, 66, 10, 0, 1, 12, 2, 66, 10, 0, 1, 66, 8, 0];
  const ip = [0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 1, 66, ...destination];
  const udp = [0x9c, 0x40, 0, 80, 0, 12, 0, 0, 1, 2, 3, 4];
  return Buffer.from([...vxlan, ...ethernet, ...ip, ...udp]).toString('hex');
}

await t.test('guards', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { client, a, b, webA, webB, plainA } = await startCluster(world);

  /** Runs `attempt` and tells by how much a counter of node A has grown. */
  async function counted(reason: string, attempt: () => Promise<unknown>): Promise<number> {
    const before = (await a.counters())[reason] ?? 0;
    await attempt();
    return ((await a.counters())[reason] ?? 0) - before;
  }

  await t.test('a container with another address', async (t) => {
    inside(webA, 'ip', 'addr', 'add', '10.0.1.77/24', 'dev', 'eth1');
    const target = { host: '10.0.1.12', port: TARGET_PORT, timeoutMs: QUICKLY };
    await t.resolves(webA.askUdp(target), 'the neighbour is known now');
    const dropped = await counted('drop-spoofed-address', async () => {
      await t.rejects(webA.askUdp({ ...target, localAddress: '10.0.1.77' }), { code: 'ETIMEDOUT' });
    });
    t.ok(dropped > 0);
    inside(webA, 'ip', 'addr', 'del', '10.0.1.77/24', 'dev', 'eth1');
    await t.resolves(webA.askUdp(target));
  });

  await t.test('a container with another MAC', async (t) => {
    const target = { host: '10.0.1.12', port: TARGET_PORT, timeoutMs: QUICKLY };
    inside(plainA, 'ip', 'link', 'set', 'eth0', 'address', '02:42:0a:00:01:63');
    const dropped = await counted('drop-spoofed-mac', async () => {
      await t.rejects(plainA.askUdp(target), { code: 'ETIMEDOUT' });
    });
    t.ok(dropped > 0);
    inside(plainA, 'ip', 'link', 'set', 'eth0', 'address', '02:42:0a:00:01:15');
    await t.resolves(plainA.askUdp(target));
  });

  await t.test('a tunnel packet from a stranger, and malformed ones', async (t) => {
    const frame = tunnelFrame(OVERLAY, [10, 0, 1, 11]);
    const mesh = tunnelFrame(1, [10, 0, 0, 11]);
    const dropped = await counted('drop-foreign-tunnel', async () => {
      for (const payload of [
        frame,
        mesh,
        frame.slice(0, 60),
        frame.slice(0, 20),
        '00',
        'ff'.repeat(1400),
      ]) {
        await client.call('sendUdp', a.address, TUNNEL_PORT, payload);
      }
      await t.resolves(client.askUdp({ host: a.address, port: 8080 }));
    });
    t.ok(dropped >= 2, `${dropped} dropped`);
  });

  await t.test('garbage from a member', async (t) => {
    const dropped = await counted('drop-mesh-kind', async () => {
      await b.holder.call('sendUdp', a.address, TUNNEL_PORT, tunnelFrame(1, [10, 0, 0, 11]));
      await b.holder.call('sendUdp', a.address, TUNNEL_PORT, tunnelFrame(1, []).slice(0, 60));
      await t.resolves(webB.askUdp({ host: '10.0.1.11', port: TARGET_PORT }));
    });
    t.ok(dropped >= 1);
    const unknown = await counted('drop-unknown-destination', async () => {
      await b.holder.call('sendUdp', a.address, TUNNEL_PORT, tunnelFrame(9999, [10, 0, 1, 11]));
      await t.resolves(webB.askUdp({ host: '10.0.1.11', port: TARGET_PORT }));
    });
    t.equal(unknown, 1);
  });

  await t.test('a container that makes its own tunnel packets', async (t) => {
    // Through masquerading they come from node A, which B knows; but A's own port is not the tunnel.
    const before = (await webB.askUdp({ host: '10.0.1.11', port: TARGET_PORT })).name;
    t.equal(before, 'web-a');
    const dropped = await counted('drop-tunnel-from-container', async () => {
      await plainA.call('sendUdp', b.address, TUNNEL_PORT, tunnelFrame(OVERLAY, [10, 0, 1, 12]));
      await plainA.call('sendUdp', a.address, TUNNEL_PORT, tunnelFrame(OVERLAY, [10, 0, 1, 11]));
      await t.resolves(plainA.askUdp({ host: '10.0.1.12', port: TARGET_PORT }));
    });
    t.equal(dropped, 2);
  });

  await t.test('from one network into another, and out of an internal one', async (t) => {
    await a.datapath('putNetworks', [
      { vni: ISOLATED, subnet: '10.0.2.0/24', gateway: '10.0.2.1', internal: true },
    ]);
    const alone = await world.container(a, 'alone', [{ vni: ISOLATED, address: '10.0.2.11' }]);
    await alone.serve(TARGET_PORT);
    const across = { host: '10.0.2.11', port: TARGET_PORT, timeoutMs: QUICKLY };
    const isolated = await counted('drop-network-isolation', async () => {
      await t.rejects(plainA.askUdp(across), { code: 'ETIMEDOUT' });
    });
    t.equal(isolated, 1);
    const internal = await counted('drop-internal-network', async () => {
      const outside = { host: CLIENT_ADDRESS, port: 7000, timeoutMs: QUICKLY };
      await t.rejects(alone.askUdp(outside), { code: 'ETIMEDOUT' });
      await t.rejects(alone.askUdp({ ...outside, host: a.address, port: 8080 }));
    });
    t.equal(internal, 2);
  });

  await t.test('nobody outside reaches a container past its published ports', async (t) => {
    inside(client, 'ip', 'route', 'add', '10.0.0.0/16', 'via', a.address);
    for (const host of ['10.0.0.11', '10.0.1.11', '10.0.1.12']) {
      const target = { host, port: TARGET_PORT, timeoutMs: QUICKLY };
      await t.rejects(client.askUdp(target), { code: 'ETIMEDOUT' }, host);
    }
    inside(client, 'ip', 'route', 'del', '10.0.0.0/16', 'via', a.address);
  });

  await t.test('address resolution: every address of the subnet is behind one MAC', async (t) => {
    const neighbours = inside(plainA, 'ip', 'neigh', 'show', 'dev', 'eth0');
    t.match(neighbours, /10\.0\.1\.12 lladdr 02:72:00:00:00:01/);
  });

  await t.test('an address nobody has', async (t) => {
    const dropped = await counted('drop-unknown-destination', async () => {
      const target = { host: '10.0.1.200', port: TARGET_PORT, timeoutMs: QUICKLY };
      await t.rejects(plainA.askUdp(target), { code: 'ETIMEDOUT' });
    });
    t.equal(dropped, 1);
  });
});
