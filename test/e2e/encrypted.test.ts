/**
 * `docker network create --opt encrypted`: services and containers of two nodes talk over it, nothing
 * of that is on the wire in clear, and a stock engine gets no task of it; the same with `--ingress`.
 */
import t from 'tap';
import { watched } from '../native/datapath/capture.js';
import { run, waitFor } from '../testbed/commands.js';
import { CLIENT_NAMESPACE, WEB_IMAGE } from '../testbed/layout.js';
import {
  containerOn,
  formSwarm,
  managerOf,
  runningTasks,
  socketOf,
  tasksOf,
  waitForReplicas,
} from '../testbed/swarm.js';
import {
  askWho,
  docker,
  down,
  type Host,
  inHost,
  killSkepd,
  mustDocker,
  restartSkepd,
  skep,
  up,
} from '../testbed/testbed.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(500_000);

const MARKER = 'SKEP-MARKER-77c2';
const WIRE = `/var/run/netns/${CLIENT_NAMESPACE}`;
/** Underlay 1500, less 60 for WireGuard and 50 for VXLAN. */
const MTU = '1390';

void t.test('an encrypted network', async (t) => {
  const hosts = await up(3, { noSkep: ['h3'] });
  try {
    const [first, second] = hosts as readonly [Host, Host];
    const socket = socketOf(managerOf(hosts), 'skep');
    await formSwarm(hosts, (host) => (host.name === 'h3' ? 'stock' : 'skep'));
    for (const [name, ...options] of [['secret', '--opt', 'encrypted'], ['plain']] as const) {
      await mustDocker(socket, ['network', 'create', '-d', 'overlay', ...options, name]);
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', `${name}-web`, '--network', name],
        ...['--replicas', '2', '--replicas-max-per-node', '1'],
        ...['--constraint', 'node.hostname!=h3', WEB_IMAGE],
      ]);
      await waitForReplicas(socket, `${name}-web`, 2, 60_000);
    }
    /** One request from the container of a service on h1, with the text in it. */
    const ask = async (name: string, target: string) => {
      const { id } = await containerOn(first, `${name}-web`);
      const url = `http://${target}/who`;
      return await docker(first.dockerSocket, [
        ...['exec', id, 'busybox', 'timeout', '3', 'wget', '-q', '-U', MARKER, '-O', '-', url],
      ]);
    };
    const farOf = async (name: string) => {
      const { addresses } = await containerOn(second, `${name}-web`);
      return addresses[name] ?? '';
    };
    const answered = async (name: string, target: string) => {
      await waitFor(`${target} to answer`, 30_000, async () => {
        return (await ask(name, target)).code === 0 ? true : undefined;
      });
    };

    await t.test('the watch sees the plain network', async (t) => {
      const target = await farOf('plain');
      await answered('plain', target);
      const seen = await watched(WIRE, MARKER, () => answered('plain', target));
      t.ok(seen.hits > 0);
    });

    await t.test('traffic is encrypted, also while an agent is killed and starts', async (t) => {
      const seen = await watched(WIRE, MARKER, async () => {
        const target = await farOf('secret');
        await answered('secret', target);
        for (let i = 0; i < 6; i++) await answered('secret', 'secret-web');
        const { id } = await containerOn(first, 'secret-web');
        const mtu = ['exec', id, 'cat', '/sys/class/net/eth0/mtu'];
        t.equal(await mustDocker(first.dockerSocket, mtu), MTU);
        await killSkepd(second);
        t.equal((await ask('secret', target)).code, 0, 'without the far skepd');
        await restartSkepd(second);
        for (let i = 0; i < 10; i++) t.equal((await ask('secret', target)).code, 0, 'and after it');
      });
      t.ok(seen.packets > 100);
      t.equal(seen.hits, 0);
    });

    await t.test('a stock engine gets no task of it', async (t) => {
      await mustDocker(socket, [
        ...['service', 'create', '--detach', '--name', 'stock', '--network', 'secret'],
        ...['--constraint', 'node.hostname==h3', WEB_IMAGE],
      ]);
      const error = await waitFor('the reason', 20_000, async () => {
        const [task] = await tasksOf(socket, 'stock');
        return task?.error || undefined;
      });
      t.match(error, 'encrypted network not supported by the stock engine on 1 node');
      t.same(await runningTasks(socket, 'stock'), []);
    });

    await t.test('an encrypted routing mesh', async (t) => {
      /** A service on h2, asked from h1, so that all of it goes between these two. */
      const publish = async (port: number) => {
        await mustDocker(socket, [
          ...['service', 'create', '--detach', '--name', 'web', '--constraint'],
          ...['node.hostname==h2', '--publish', `published=${port},target=80`, WEB_IMAGE],
        ]);
        await waitForReplicas(socket, 'web', 1, 60_000);
        return await watched(WIRE, MARKER, async () => {
          await waitFor(`port ${port} of h1`, 30_000, async () => {
            const url = `http://127.0.0.1:${port}/who`;
            const asked = ['curl', '-sf', '--max-time', '3', '-A', MARKER, url];
            return (await inHost(first, asked)).code === 0 ? true : undefined;
          });
        });
      };
      t.ok((await publish(8000)).hits > 0, 'the watch sees it in clear');
      await mustDocker(socket, ['service', 'rm', 'web']);
      const remove = ['-X', 'DELETE', 'http://localhost/networks/ingress'];
      const options = ['--ingress', '--opt', 'encrypted', '-d', 'overlay', 'mesh'];
      await waitFor('the other ingress network', 30_000, async () => {
        await run('curl', ['-s', '--unix-socket', socket, ...remove]);
        const made = await docker(socket, ['network', 'create', ...options]);
        return made.code === 0 ? true : undefined;
      });
      t.equal((await publish(8001)).hits, 0);
      await waitFor('an answer to the outside', 30_000, async () => {
        return await askWho(first.address, 8001);
      });
      const counters = (await skep(first, ['net', 'counters'])).stdout;
      t.match(counters, /encrypted-sent +[1-9]/);
      t.match(counters, /mesh-sent +[1-9]/);
      await mustDocker(socket, ['service', 'rm', 'web']);
    });

    await t.test('leaving ends it on the node', async (t) => {
      t.match((await inHost(second, ['ip', 'link'])).stdout, /sw-wg[01]/);
      await mustDocker(socketOf(second, 'skep'), ['swarm', 'leave']);
      t.notMatch((await inHost(second, ['ip', 'link'])).stdout, 'sw-wg');
    });
  } finally {
    await down();
  }
});
