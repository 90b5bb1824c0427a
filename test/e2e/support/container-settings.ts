/** Settings of containers by label (`skep.container.…`), as containers, engines and the docker CLI show them. */
import type { Test } from 'tap';
import { waitFor } from '../../testbed/commands.js';
import { WEB_IMAGE } from '../../testbed/layout.js';
import { containerOn, socketOf, type TaskLine, tasksOf } from '../../testbed/swarm.js';
import { docker, type Host, inHost, mustDocker, skep } from '../../testbed/testbed.js';

const WAIT_MS = 30_000;
const PRIVILEGED = ['--label', 'skep.container.privileged=true'];
const GIVEN = [
  'shm-size=48m',
  'devices=/dev/kmsg:/dev/log0:r',
  'pid=host',
  'security-opt=no-new-privileges',
].flatMap((setting) => ['--label', `skep.container.${setting}`]);
const REFUSED =
  'Error response from daemon: rpc error: code = PermissionDenied desc = label skep.container.privileged ' +
  'is not allowed in this swarm: skep.container.allow of the cluster does not name privileged';

async function untilTask(
  socket: string,
  service: string,
  is: (task: TaskLine) => boolean,
): Promise<TaskLine> {
  return await waitFor(`a task of ${service}`, WAIT_MS, async () => {
    const tasks = await tasksOf(socket, service);
    const found = tasks.find(is);
    if (found === undefined) throw new Error(JSON.stringify(tasks));
    return found;
  });
}

async function allow(manager: Host, value: string): Promise<string> {
  const { code, stderr } = await skep(manager, ['cluster', 'set', 'skep.container.allow', value]);
  return code === 0 ? '' : stderr;
}

/** `manager` runs skepd; tasks of global services have another node with a stock engine. */
export async function checkContainerSettings(t: Test, manager: Host): Promise<void> {
  const socket = socketOf(manager, 'skep');
  const engine = manager.dockerSocket;
  const create = async (name: string, labels: readonly string[], ...rest: string[]) =>
    await docker(socket, [
      ...['service', 'create', '--detach', '--name', name, '--stop-grace-period', '0s'],
      ...['--constraint', `node.hostname==${manager.name}`, ...labels, ...rest],
      ...[WEB_IMAGE, 'sleep', '1000'],
    ]);
  const closed = await create('root', PRIVILEGED);
  t.equal(closed.code, 1);
  t.equal(closed.stderr.trim(), REFUSED);
  const [, setting = ''] = PRIVILEGED;
  t.equal((await create('root', ['--container-label', setting])).stderr.trim(), REFUSED);
  t.match(await allow(manager, 'everything'), 'skep.container.allow: must be all or names such as');
  t.equal(await allow(manager, 'privileged,shm-size,devices,pid,security-opt,gpus'), '');

  t.equal((await create('strong', GIVEN)).code, 0);
  const runs = (task: TaskLine): boolean => task.currentState.startsWith('Running');
  const { id: first } = await untilTask(socket, 'strong', runs);
  const { id } = await containerOn(manager, 'strong');
  const inside = async (...command: string[]): Promise<string> =>
    await mustDocker(engine, ['exec', id, 'busybox', ...command]);
  t.match(await inside('df', '-k', '/dev/shm'), /\s49152\s/);
  t.match(await inside('ls', '-l', '/dev/log0'), /^c.* 1, +11 /);
  const { stdout: hosts } = await inHost(manager, ['readlink', '/proc/self/ns/pid']);
  t.equal(await inside('readlink', '/proc/self/ns/pid'), hosts.trim());
  const config = JSON.parse(
    await mustDocker(engine, ['inspect', id, '--format', '{{json .HostConfig}}']),
  ) as object;
  t.match(config, {
    ShmSize: 48 * 1024 ** 2,
    PidMode: 'host',
    SecurityOpt: ['no-new-privileges'],
    Devices: [{ PathOnHost: '/dev/kmsg', PathInContainer: '/dev/log0', CgroupPermissions: 'r' }],
  });

  const reserving = ['--label', 'skep.container.devices=reserved:tty'];
  const terms = ['--generic-resource', 'tty=1', '--replicas', '2'];
  t.equal((await create('ttys', reserving, ...terms)).code, 0);
  await waitFor('two tasks of ttys', WAIT_MS, async () =>
    (await tasksOf(socket, 'ttys')).filter(runs).length === 2 ? true : undefined,
  );
  const { stdout: ids } = await docker(engine, [
    ...['ps', '-q', '--filter', 'label=com.docker.swarm.service.name=ttys'],
  ]);
  const format = '{{range .HostConfig.Devices}}{{.PathOnHost}}{{end}}';
  const devices = await mustDocker(engine, [
    'inspect',
    '--format',
    format,
    ...ids.trim().split('\n'),
  ]);
  t.same(devices.split('\n').sort(), ['/dev/kmsg', '/dev/random'], 'each has one of its own');

  await checkPrivileged(t, manager, async () => (await create('root', PRIVILEGED)).code);

  t.equal((await create('gpu', ['--label', 'skep.container.gpus=all'])).code, 0);
  const failed = await untilTask(socket, 'gpu', ({ error }) => error !== '');
  t.match(failed.error, 'could not select device driver', 'the engine has none');

  await mustDocker(socket, [
    ...['service', 'create', '--detach', '--name', 'everywhere', '--mode', 'global'],
    ...['--label', 'skep.container.shm-size=1m', WEB_IMAGE, 'sleep', '1000'],
  ]);
  await untilTask(socket, 'everywhere', ({ error }) =>
    error.includes('skep.container labels need skepd on 1 node'),
  );

  // Closed again: what runs stays and can be scaled, new tasks wait and say why.
  t.equal(await allow(manager, ''), '');
  await mustDocker(socket, ['service', 'scale', '--detach', 'strong=2']);
  const waiting = await untilTask(socket, 'strong', ({ error }) => error !== '');
  t.match(waiting.currentState, /^Pending/);
  t.match(waiting.error, /label skep\.container\.devices is not allowed in this swarm/);
  t.equal((await untilTask(socket, 'strong', runs)).id, first);
  await mustDocker(socket, ['service', 'rm', 'strong', 'root', 'gpu', 'ttys', 'everywhere']);
}

/** A privileged task is as privileged as a container of the engine, or fails as one where the host forbids it. */
async function checkPrivileged(t: Test, manager: Host, make: () => Promise<number>): Promise<void> {
  const look = ['busybox', 'grep', 'CapEff', '/proc/self/status'];
  const plain = await docker(manager.dockerSocket, [
    'run',
    '--rm',
    '--privileged',
    WEB_IMAGE,
    ...look,
  ]);
  t.equal(await make(), 0);
  const socket = socketOf(manager, 'skep');
  if (plain.code !== 0) {
    const reason = /operation not permitted|not supported/.exec(plain.stderr)?.[0] ?? plain.stderr;
    const failed = await untilTask(socket, 'root', ({ error }) => error !== '');
    t.match(failed.error, reason);
  } else {
    await untilTask(socket, 'root', (task) => task.currentState.startsWith('Running'));
    const { id } = await containerOn(manager, 'root');
    t.equal(await mustDocker(manager.dockerSocket, ['exec', id, ...look]), plain.stdout.trim());
  }
  const { stdout } = await docker(manager.dockerSocket, [
    ...['ps', '-aq', '--filter', 'label=com.docker.swarm.service.name=root'],
  ]);
  const [id = ''] = stdout.split('\n');
  const format = '{{.HostConfig.Privileged}}';
  t.equal(await mustDocker(manager.dockerSocket, ['inspect', id, '--format', format]), 'true');
}
