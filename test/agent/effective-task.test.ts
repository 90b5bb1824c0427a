/** What the engine is given of a task. */
import t from 'tap';
import { containerSpec } from '../../src/agent/container-config.js';
import { effectiveTask } from '../../src/agent/effective-task.js';
import { ENGINE_SOCKET_LABEL, SocketBinds } from '../../src/model/engine-socket.js';
import { Mount_Type as MountType } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { containerTask } from './support/tasks.js';

const SOCKETS = new SocketBinds('/run/skep.sock', '/run/docker.sock');
const NODE = { hostname: 'host-1', architecture: 'x86_64', os: 'linux' };
const BIND = { type: MountType.BIND, source: '/var/run/docker.sock', target: '/s' };

function sources(task: ReturnType<typeof containerTask>): readonly string[] {
  return containerSpec(effectiveTask(task, NODE, SOCKETS)).mounts.map(({ source }) => source);
}

void t.test('a bind of the engine socket is one of ours, in a copy of the task', async (t) => {
  const volume = { type: MountType.VOLUME, source: 'v', target: '/v' };
  const task = containerTask({ mounts: [BIND, volume] });
  t.strictSame(sources(task), ['/run/skep.sock', 'v']);
  t.equal(containerSpec(task).mounts[0]?.source, BIND.source, 'the task itself is as it was');
});

void t.test('a label of the container or of the service keeps the engine socket', async (t) => {
  const labels = { [ENGINE_SOCKET_LABEL]: 'true' };
  t.strictSame(sources(containerTask({ mounts: [BIND], labels })), [BIND.source]);
  const task = containerTask({ mounts: [BIND] });
  if (task.serviceAnnotations) task.serviceAnnotations.labels = labels;
  t.strictSame(sources(task), [BIND.source]);
});
