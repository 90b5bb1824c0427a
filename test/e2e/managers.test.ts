/**
 * Three managers with the stock docker CLI: everything works through any of them, the leader may be
 * killed under load, managers come back, are demoted and promoted, and say so when they are too few.
 */
import t from 'tap';
import { sleep, waitFor } from '../testbed/commands.js';
import { writeConfig } from '../testbed/config-writer.js';
import { WEB_IMAGE } from '../testbed/layout.js';
import { leaderOf, waitForStates } from '../testbed/managers.js';
import { RegisterClients } from '../testbed/register-clients.js';
import { managerOf } from '../testbed/swarm.js';
import {
  type Host,
  askWho,
  docker,
  down,
  killSkepd,
  mustDocker,
  restartSkepd,
  up,
} from '../testbed/testbed.js';
import { clientLoad } from './support/client-load.js';

const PORT = 8000;
const RATE = 100;
/** That read and update while the leader is killed. */
const CLIENTS = 6;
/** What is asked of the defaults, plus what a loaded test machine takes. */
const NEXT_WRITE_MS_MAX = 6_000;

void t.test('three managers', async (t) => {
  const hosts = await up(3);
  const others = (host: Host): readonly Host[] => hosts.filter((other) => other !== host);
  const someOther = (host: Host): Host => others(host)[0] ?? host;
  try {
    const first = managerOf(hosts);
    await t.test('join with the manager token, through any manager', async (t) => {
      await mustDocker(first.skepSocket, ['swarm', 'init', '--advertise-addr', first.address]);
      const token = await mustDocker(first.skepSocket, ['swarm', 'join-token', '-q', 'manager']);
      let through = first;
      for (const host of hosts.slice(1)) {
        const said = await mustDocker(host.skepSocket, [
          ...['swarm', 'join', '--token', token, '--advertise-addr', host.address],
          `${through.address}:2377`,
        ]);
        t.match(said, /This node joined a swarm as a manager/);
        through = host;
      }
      for (const host of hosts) await waitForStates(host, ['Leader', 'Reachable', 'Reachable']);
      const info = ['info', '--format', '{{.Swarm.Managers}} {{.Swarm.ControlAvailable}}'];
      for (const host of hosts) t.equal(await mustDocker(host.skepSocket, info), '3 true');
    });

    await t.test('a service made through a follower runs and is seen everywhere', async (t) => {
      const follower = someOther(await leaderOf(hosts, first));
      await mustDocker(follower.skepSocket, [
        ...['service', 'create', '-q', '--name', 'web', '--replicas', '3'],
        ...['--publish', `published=${PORT},target=80`, WEB_IMAGE],
      ]);
      for (const host of hosts) {
        const shown = ['service', 'ls', '--format', '{{.Name}} {{.Replicas}}'];
        t.equal(await mustDocker(host.skepSocket, shown), 'web 3/3', host.name);
        await waitFor(`${host.name} to answer`, 30_000, async () => askWho(host.address, PORT, 2));
      }
    });

    await t.test('the leader is killed under load', async (t) => {
      const leader = await leaderOf(hosts, first);
      const survivor = someOther(leader);
      t.equal(await writeConfig(survivor, 'before'), 201);
      const clients = await RegisterClients.begin(others(leader), 'kill', CLIENTS);
      t.teardown(async () => clients.end());
      const load = clientLoad([`${survivor.address}:${PORT}`], RATE, 10);
      await sleep(500);
      await killSkepd(leader);
      const killedMs = performance.now();
      t.equal(
        await writeConfig(survivor, 'after'),
        201,
        'the next write waits for the next leader',
      );
      const tookMs = Math.round(performance.now() - killedMs);
      t.comment(`next acknowledged write ${tookMs} ms after the kill`);
      t.ok(tookMs < NEXT_WRITE_MS_MAX);
      await waitForStates(survivor, ['Leader', 'Reachable', 'Unreachable']);
      t.same(await load, { sent: RATE * 10, failed: 0, errors: {} });

      await restartSkepd(leader);
      await waitForStates(leader, ['Leader', 'Reachable', 'Reachable']);
      const names = await mustDocker(leader.skepSocket, ['config', 'ls', '--format', '{{.Name}}']);
      t.same(
        names
          .split('\n')
          .filter((name) => !name.includes('register'))
          .sort(),
        ['after', 'before'],
        'it has caught up',
      );
      t.equal(await clients.verdict(hosts), 'linearizable');
      t.comment(`${clients.history.length} operations of clients`);
    });

    await t.test('demote and promote, the leader too', async (t) => {
      const leader = await leaderOf(hosts, first);
      const asked = someOther(leader);
      const said = await mustDocker(asked.skepSocket, ['node', 'demote', leader.name]);
      t.match(said, /demoted in the swarm/);
      await waitForStates(asked, ['Leader', 'Reachable', '']);
      await waitFor('the demoted node to be a worker', 20_000, async () => {
        const refused = await docker(leader.skepSocket, ['node', 'ls']);
        return refused.stderr.includes('This node is not a swarm manager. Worker nodes')
          ? true
          : undefined;
      });
      const promoted = await docker(asked.skepSocket, ['node', 'promote', leader.name]);
      const nodes = await docker(asked.skepSocket, ['node', 'ls']);
      t.equal(promoted.code, 0, `${promoted.stderr}${nodes.stdout}${nodes.stderr}`);
      await waitForStates(asked, ['Leader', 'Reachable', 'Reachable']);
      await waitFor('the promoted node to answer', 20_000, async () =>
        (await docker(leader.skepSocket, ['node', 'ls'])).code === 0 ? true : undefined,
      );
      t.equal(await writeConfig(leader, 'promoted'), 201);
    });

    await t.test('without a quorum managers say so, and what runs goes on', async (t) => {
      const [lost = first, alsoLost = first] = others(first);
      await Promise.all([killSkepd(lost), killSkepd(alsoLost)]);
      const refused = await docker(first.skepSocket, ['service', 'ls']);
      t.match(refused.stderr, /The swarm does not have a leader/);
      t.ok(await askWho(first.address, PORT, 2), 'the service answers');
      await restartSkepd(lost);
      await waitFor('a leader', 20_000, async () =>
        (await docker(first.skepSocket, ['service', 'ls'])).code === 0 ? true : undefined,
      );
      const demoted = await docker(first.skepSocket, ['node', 'demote', lost.name]);
      const known = await docker(first.skepSocket, ['node', 'ls']);
      const said = `${demoted.stderr}${known.stdout}${known.stderr}`;
      t.match(demoted.stderr, /this would result in a loss of quorum/, said);
      t.equal(await writeConfig(first, 'quorum'), 201);
    });
  } finally {
    await down();
  }
});
