/** Attachments to attachable networks, over the real RPC server. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { NetworkSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { connectManager } from '../../../src/rpc/manager-connection.js';
import type { ManagerConnection } from '../../../src/rpc/types.js';
import { startTestCluster, type TestCluster, TestIdentity } from '../../rpc/test-cluster.js';

interface Scope {
  teardown(end: () => unknown): unknown;
}

async function start(t: Scope): Promise<TestCluster> {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  await cluster.store.update((write) => {
    for (const [id, attachable] of [
      ['net1', true],
      ['net2', false],
    ] as const) {
      const spec = { annotations: { name: `name-of-${id}` }, attachable };
      write.create('network', create(NetworkSchema, { id, spec }));
    }
  });
  return cluster;
}

async function connect(t: Scope, cluster: TestCluster, nodeId: string): Promise<ManagerConnection> {
  const identity = new TestIdentity(await cluster.identity(nodeId));
  const connection = await connectManager({
    peer: cluster.peer,
    identity,
    env: systemEnvironment,
  });
  t.teardown(() => connection.close());
  return connection;
}

void t.test('an attachment is a task pinned to the node, until it is detached', async (t) => {
  const cluster = await start(t);
  const { resourceAllocator } = await connect(t, cluster, 'nodea');
  const stranger = await connect(t, cluster, 'nodeb');
  for (const target of ['net1', 'name-of-net1']) {
    const { attachmentId } = await resourceAllocator.attachNetwork({
      config: { target, addresses: ['10.0.1.9'] },
      containerId: 'c0ffee',
    });
    t.match(
      cluster.store.view((read) => read.get('task', attachmentId)),
      {
        nodeId: 'nodea',
        serviceId: '',
        spec: {
          runtime: { case: 'attachment', value: { containerId: 'c0ffee' } },
          networks: [{ target: 'net1', addresses: ['10.0.1.9'] }],
        },
        status: { state: TaskState.NEW, message: 'created' },
        desiredState: TaskState.RUNNING,
      },
    );
    await t.rejects(stranger.resourceAllocator.detachNetwork({ attachmentId }), {
      message: `[permission_denied] attachment ${attachmentId} doesn't belong to this node`,
    });
    await resourceAllocator.detachNetwork({ attachmentId });
    t.equal(
      cluster.store.view((read) => read.get('task', attachmentId)),
      undefined,
    );
    await t.rejects(resourceAllocator.detachNetwork({ attachmentId }), {
      message: `[not_found] attachment ${attachmentId} not found`,
    });
  }
});

void t.test("what cannot be attached is refused in SwarmKit's words", async (t) => {
  const cluster = await start(t);
  const { resourceAllocator } = await connect(t, cluster, 'nodea');
  const attach = (target: string, containerId = 'c'): Promise<unknown> =>
    resourceAllocator.attachNetwork({ config: { target }, containerId });
  await t.rejects(attach('nonet'), { message: '[not_found] network nonet not found' });
  await t.rejects(attach('net2'), {
    message: '[permission_denied] network net2 not manually attachable',
  });
  await t.rejects(attach(''), { message: '[invalid_argument] invalid argument' });
  await t.rejects(attach('net1', 'x'.repeat(129)), { message: /invalid argument/ });
  await t.rejects(resourceAllocator.detachNetwork({}), {
    message: '[invalid_argument] invalid argument',
  });
  const tasks = cluster.store.view((read) => read.find('task', { by: 'all' }));
  t.equal(tasks.length, 0);
});
