/**
 * Filters of other agents on the hooks we use, before and behind ours: packets that are not ours to decide
 * about reach all of them, and they are still there and run after repair, take-over and leaving.
 */
import t, { type Test } from 'tap';
import { PUBLISHED_PORT, startCluster, TARGET_PORT } from './cluster.js';
import { type ForeignFilter, ForeignFilters, type ForeignPlace } from './foreign-filter.js';
import { World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const HOST_PORT = 7100;
const CLSACT: readonly ForeignPlace[] = [
  { kind: 'clsact', side: 'ingress', priority: 1 },
  { kind: 'clsact', side: 'ingress', priority: 60_000 },
  { kind: 'clsact', side: 'egress', priority: 1 },
];
const TCX: readonly ForeignPlace[] = [
  { kind: 'tcx', at: 'first' },
  { kind: 'tcx', at: 'last' },
];

for (const forceClsact of [false, true]) {
  await t.test(`beside ours (${forceClsact ? 'clsact' : 'tcx'})`, async (t) => {
    const world = new World();
    t.teardown(async () => await world.close());
    const { client, a, plainA } = await startCluster(world, { forceClsact });
    const usesTcx = (await a.agent.call('usesTcx')) === true;
    const places = usesTcx ? [...TCX, ...CLSACT] : CLSACT;
    if (usesTcx) a.run('tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
    const foreign = new ForeignFilters(t);
    const filters = places.map((place) => foreign.attach(a, 'eth0', place));
    const link = (await a.dump()).links.find(({ address }) => address === '10.0.1.21');
    const device = link?.interfaceName ?? '';
    if (usesTcx) a.run('tc', 'qdisc', 'add', 'dev', device, 'clsact');
    const ofContainer = places.map((place) => foreign.attach(a, device, place));
    await a.holder.call('serveTcp', HOST_PORT);

    const grown = async (all: readonly ForeignFilter[], ask: () => Promise<unknown>) => {
      const before = all.map((each) => each.count());
      await ask();
      return all.map((each, index) => each.count() > (before[index] ?? 0));
    };
    const all = places.map(() => true);
    /** Host traffic reaches all, and what we take reaches those before us. */
    const runs = async (t: Test, when: string) => {
      const host = { host: a.address, port: HOST_PORT };
      t.same(
        await grown(filters, async () => await client.askTcp(host)),
        all,
        `${when}: the host's`,
      );
    };
    const serves = async (t: Test, when: string) => {
      const published = { host: a.address, port: PUBLISHED_PORT };
      const seen = await grown(filters, async () => {
        for (let i = 0; i < 4; i += 1) await client.askTcp(published);
      });
      t.ok(seen[0], `${when}: published, the first filter`);
      const direct = { host: '10.0.1.11', port: TARGET_PORT };
      t.equal((await plainA.askTcp(direct)).name, 'web-a', when);
      t.ok(
        (await grown(ofContainer, async () => await plainA.askTcp(direct)))[0],
        `${when}: container`,
      );
    };

    await runs(t, 'at first');
    await serves(t, 'at first');

    await t.test('after a repair of ours', async (t) => {
      if (usesTcx) {
        a.run(
          'sh',
          '-c',
          `rm ${a.directory}/skep/links/uplink-* ${a.directory}/skep/links/container-*`,
        );
      } else {
        a.run('tc', 'filter', 'del', 'dev', 'eth0', 'ingress', 'prio', String(0x5ce9));
        a.run('tc', 'filter', 'del', 'dev', device, 'ingress', 'prio', String(0x5ce9));
      }
      t.match(await a.datapath('repair'), { parts: usesTcx ? 4 : 2 });
      await runs(t, 'repaired');
      await serves(t, 'repaired');
    });

    await t.test('after a take-over', async (t) => {
      await a.agent.kill();
      await runs(t, 'while skepd is away');
      await world.openAgent(a, { forceClsact });
      await runs(t, 'taken over');
      await serves(t, 'taken over');
    });

    await t.test('after we have left', async (t) => {
      await a.datapath('destroy');
      await runs(t, 'gone');
      for (const each of ['eth0', device]) {
        const left = a.run('tc', 'filter', 'show', 'dev', each, 'ingress');
        t.notMatch(left, /skep/);
        t.match(left, /pref 60000 bpf/, 'theirs');
      }
    });
  });
}
