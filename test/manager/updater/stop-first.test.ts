/** Stop-first in a store that takes its time, as one behind raft does: never two tasks in a slot. */
import t from 'tap';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

void t.test('a new task starts once the old one is seen stopped', async (t) => {
  const world = new World(3, { stopMs: 2000 });
  await world.start([makeNode('n1')]);
  t.teardown(() => world.stop());
  const mode = { case: 'replicated', value: { replicas: 2n } } as const;
  await world.put('service', makeService('web', { mode }));
  await world.run(1000);
  world.setCommitLatency(5);
  let most = 0;
  world.store.subscribe(() => {
    const running = world
      .tasksOf('web')
      .filter(({ status }) => status?.state === TaskState.RUNNING);
    for (const { slot } of running) {
      most = Math.max(most, running.filter((task) => task.slot === slot).length);
    }
  });
  await world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
  }));
  await world.run(30_000);
  const wanted = world.tasksOf('web').filter(({ spec }) => spec?.forceUpdate === 1n);
  t.same(
    wanted.map(({ status }) => status?.state),
    [TaskState.RUNNING, TaskState.RUNNING],
  );
  t.equal(most, 1);
});
