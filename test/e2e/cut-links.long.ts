/**
 * The links of one node cut apart: its session with the manager, gossip, or all for so long that it
 * fences itself. What docs/gossip.md says of each.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { between, cut, heal } from '../testbed/faults.js';
import { containerOn, formSwarm, managerOf, socketOf } from '../testbed/swarm.js';
import { type Host, down, inHost, mustDocker, skep, up } from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';
import { backendsOf } from './support/tables.js';
import { agreement, containerIds, startWeb, WEB_PORT, webTasks } from './support/web-service.js';

t.setTimeout(900_000);

const MANAGER_PORT = 2377;
const GOSSIP_PORT = 7946;
const CUT_S = 15;
const RATE = 100;
const LIMIT_MS = 30_000;
const FENCE_S = 5;

/** States of the nodes as the manager shows them, by host name. */
async function nodeStates(hosts: readonly Host[]): Promise<ReadonlyMap<string, string>> {
  const socket = socketOf(managerOf(hosts), 'skep');
  const format = '{{.Hostname}} {{.Status}}';
  const lines = (await mustDocker(socket, ['node', 'ls', '--format', format])).split('\n');
  return new Map(lines.map((line) => line.split(' ') as [string, string]));
}

/** Whether the links of the host's containers are up. */
async function linksUp(host: Host): Promise<readonly boolean[]> {
  const { stdout } = await inHost(host, ['ip', '-j', 'link', 'show', 'type', 'veth']);
  const links = JSON.parse(stdout) as { ifname: string; flags: string[] }[];
  // Those of containers; the host's own uplink is one, too.
  const own = links.filter(({ ifname }) => ifname.startsWith('skv'));
  return own.map(({ flags }) => flags.includes('UP'));
}

void t.test('links cut apart', async (t) => {
  const hosts = await up(3);
  try {
    const [manager, victim, other] = hosts as [Host, Host, Host];
    const socket = socketOf(manager, 'skep');
    await formSwarm(hosts, 'skep');
    await startWeb(hosts);
    const targets = hosts.map(({ address }) => `${address}:${WEB_PORT}`);

    await t.test('the session with the manager', async (t) => {
      const before = [await containerIds(hosts), await webTasks(hosts)];
      const load = clientLoad(targets, RATE, CUT_S + 5);
      await cut(between([victim], [manager], [MANAGER_PORT]));
      await waitFor('its agent to be missed', LIMIT_MS, async () =>
        (await nodeStates(hosts)).get(victim.name) === 'Unknown' ? true : undefined,
      );
      await sleep(CUT_S * 1000);
      await heal();
      t.same(await load, { sent: RATE * (CUT_S + 5), failed: 0, errors: {} });
      await waitFor('its return', LIMIT_MS, async () =>
        (await nodeStates(hosts)).get(victim.name) === 'Ready' ? true : undefined,
      );
      t.same([await containerIds(hosts), await webTasks(hosts)], before, 'nothing was replaced');
    });

    await t.test('gossip', async (t) => {
      const before = await webTasks(hosts);
      const backends = await backendsOf(other, WEB_PORT);
      const load = clientLoad(targets, RATE, CUT_S + 5);
      await cut(between([victim], [manager, other], [GOSSIP_PORT]));
      await sleep(CUT_S * 1000);
      t.same(
        await backendsOf(other, WEB_PORT),
        backends,
        'its backend stays: its data path answers',
      );
      t.equal((await nodeStates(hosts)).get(victim.name), 'Ready', 'so does its session');
      await mustDocker(socket, ['service', 'scale', '--detach', 'web=4']);
      await sleep(3000);
      await heal();
      t.same(await load, { sent: RATE * (CUT_S + 5), failed: 0, errors: {} });
      t.comment(`all agree ${await agreement(hosts, 10_000)} ms after the heal`);
      t.equal((await backendsOf(victim, WEB_PORT)).length, 4);
      const after = await webTasks(hosts);
      t.ok(
        before.every((id) => after.includes(id)),
        'nothing was replaced',
      );
    });

    await t.test('everything, for so long that it fences itself', async (t) => {
      await skep(manager, ['cluster', 'set', 'skep.fence_after', `${FENCE_S}s`]);
      await sleep(1000);
      const { id } = await containerOn(victim, 'anchor');
      t.ok((await linksUp(victim)).every(Boolean));
      await cut(between([victim], [manager, other]));
      await sleep((FENCE_S - 2) * 1000);
      t.ok((await linksUp(victim)).every(Boolean), 'not before its time');
      await waitFor('the fence', LIMIT_MS, async () =>
        (await linksUp(victim)).some(Boolean) ? undefined : true,
      );
      t.ok((await linksUp(other)).every(Boolean), 'those who reach each other are not fenced');
      // Longer than addresses rest, so that only the manager's word counts.
      await sleep((2 * FENCE_S + 2) * 1000);
      const freed = waitFor('all links up', LIMIT_MS, async () =>
        (await linksUp(victim)).every(Boolean) ? true : undefined,
      );
      await heal();
      await freed;
      await waitFor('four tasks', LIMIT_MS, async () =>
        (await backendsOf(manager, WEB_PORT)).length === 4 ? true : undefined,
      );
      await agreement(hosts, 15_000);
      const now = (await containerOn(victim, 'anchor')).id;
      t.equal(now, id, 'what nothing else runs in the place of goes on');
      for (const host of hosts)
        t.same(await clientLoad([`${host.address}:${WEB_PORT}`], 50, 1), {
          ...{ sent: 50, failed: 0, errors: {} },
        });
    });
  } finally {
    await heal().catch(() => undefined);
    await down();
  }
});
