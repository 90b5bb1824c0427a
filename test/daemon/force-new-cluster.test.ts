/** What becomes of the objects of a cluster that is forced to go on with one manager. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { forcedCluster, onlyManager } from '../../src/daemon/force-new-cluster.js';
import { ClusterSchema, NodeSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeRole } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { createLocalStore } from '../../src/store/memory-store.js';

void t.test('nobody else is a manager', async (t) => {
  const { store } = createLocalStore(systemEnvironment, { freezeObjects: true });
  const { MANAGER, WORKER } = NodeRole;
  await store.update((write) => {
    for (const [id, role, desiredRole] of [
      ['lost', MANAGER, MANAGER],
      ['promoted', WORKER, MANAGER],
      ['self', MANAGER, MANAGER],
      ['worker', WORKER, WORKER],
    ] as const)
      write.create(
        'node',
        create(NodeSchema, {
          id,
          role,
          spec: { desiredRole, annotations: { labels: { a: id } } },
          ...(role === MANAGER ? { managerStatus: { raftId: 5n, addr: 'old:2377' } } : {}),
        }),
      );
  });
  const untouched = store.view((read) => read.get('node', 'worker'));
  await store.update((write) => {
    onlyManager(write, { nodeId: 'self', address: 'new:2377', raftId: 9n });
  });
  const nodes = store.view((read) => read.find('node', { by: 'all' }));
  t.same(
    nodes.map(({ id, role, spec, managerStatus }) => [
      id,
      role,
      spec?.desiredRole,
      managerStatus?.addr,
      managerStatus?.raftId,
      spec?.annotations?.labels['a'],
    ]),
    [
      ['lost', WORKER, WORKER, undefined, undefined, 'lost'],
      ['promoted', WORKER, WORKER, undefined, undefined, 'promoted'],
      ['self', MANAGER, MANAGER, 'new:2377', 9n, 'self'],
      ['worker', WORKER, WORKER, undefined, undefined, 'worker'],
    ],
  );
  t.equal(
    store.view((read) => read.get('node', 'worker')),
    untouched,
  );
});

void t.test('what the request does not say stays', async (t) => {
  const cluster = (forceRotate: bigint, autoLockManagers: boolean) =>
    create(ClusterSchema, {
      spec: { caConfig: { forceRotate }, encryptionConfig: { autoLockManagers } },
    });
  const settings = (old: [bigint, boolean], wanted: [bigint, boolean]) => {
    const { spec } = forcedCluster(cluster(...old), cluster(...wanted));
    return [spec?.caConfig?.forceRotate, spec?.encryptionConfig?.autoLockManagers];
  };
  t.same(settings([3n, true], [0n, false]), [3n, true]);
  t.same(settings([3n, false], [4n, true]), [4n, true]);
  t.same(settings([0n, false], [0n, false]), [0n, false]);
});
