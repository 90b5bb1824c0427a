/** What nodes tell of their tasks, over the real RPC server. */
import t from 'tap';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { connectManager } from '../../../src/rpc/manager-connection.js';
import { startTestCluster, TestIdentity } from '../../rpc/test-cluster.js';
import { makeService, makeTask } from '../simulation/objects.js';

const LABELS = { 'skep.autoscale.max': '5', 'skep.autoscale.cpu': '50' };

void t.test('a node tells of its own tasks', async (t) => {
  const cluster = await startTestCluster();
  t.teardown(() => cluster.stop());
  await cluster.store.update((write) => {
    write.create('service', makeService('web', { annotations: { name: 'web', labels: LABELS } }));
    for (const nodeId of ['nodea', 'nodeb'])
      write.create('task', makeTask(`on-${nodeId}`, { serviceId: 'web', nodeId }));
  });
  const connect = async (nodeId: string) => {
    const identity = new TestIdentity(await cluster.identity(nodeId));
    const connection = await connectManager({
      peer: cluster.peer,
      identity,
      env: systemEnvironment,
    });
    t.teardown(() => connection.close());
    return connection.statistics;
  };
  const { usage } = cluster.services;
  const statistics = await connect('nodea');
  const tasks = ['on-nodea', 'on-nodeb'].map((taskId) => ({ taskId, milliCpus: 250 }));
  await statistics.report({ tasks });
  t.equal(usage.milliCpus('on-nodea'), 250);
  t.equal(usage.milliCpus('on-nodeb'), undefined, 'whoever says so, nodea does not run it');
  await statistics.report({ tasks: [{ taskId: 'on-nodea', milliCpus: 0 }] });
  t.equal(usage.milliCpus('on-nodea'), 0);

  const many = Array.from({ length: 1001 }, () => ({ taskId: 'on-nodea', milliCpus: 1 }));
  await t.rejects(statistics.report({ tasks: many }), { message: /more than 1000 tasks/ });
  await cluster.services.stopLeading();
  t.equal(usage.size, 0, 'a manager that no longer leads knows nothing');
});
