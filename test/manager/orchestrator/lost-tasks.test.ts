/** Addresses of tasks that were lost with their node. */
import t from 'tap';
import {
  orphanTask,
  quarantineMs,
  restLeftMs,
} from '../../../src/manager/orchestrator/lost-tasks.js';
import { timestampNow } from '../../../src/model/defaults.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { makeTask } from '../simulation/objects.js';
import { World } from '../simulation/world.js';

void t.test('they rest from the loss on, however long the task ran before', async (t) => {
  const world = new World(1);
  const { store, environment } = world;
  const { clock } = environment;
  const appliedAt = timestampNow(clock);
  const status = { state: TaskState.RUNNING, timestamp: appliedAt, appliedAt };
  await world.put('task', makeTask('t1', { nodeId: 'n1', status, networks: [{}] }));
  await world.run(50_000);
  await store.update((write) => orphanTask(write, environment, 't1'));
  const left = () =>
    store.view((read) => {
      const task = read.get('task', 't1');
      return task && restLeftMs(read, task, clock.nowMs());
    });
  const wholeMs = store.view(quarantineMs);
  t.equal(left(), wholeMs);
  await world.run(wholeMs - 1);
  t.equal(left(), 1);
  await world.run(1);
  t.equal(left(), 0);
});
