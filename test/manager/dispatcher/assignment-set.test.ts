/** What a node is to have: tasks with the secrets and configs of its live tasks, and no others. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import t from 'tap';
import { AssignmentSet } from '../../../src/manager/dispatcher/assignment-set.js';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction,
} from '../../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  ConfigSchema,
  SecretSchema,
  type Task,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { ResourceType, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { createLocalStore, type MemoryStore } from '../../../src/store/memory-store.js';
import { simulatedEnvironment } from '../../support/simulated-environment.js';

function newTask(
  id: string,
  options: {
    secrets?: readonly string[];
    configs?: readonly string[];
    references?: readonly string[];
    nodeId?: string;
    state?: TaskState;
  } = {},
): Task {
  const spec: MessageInitShape<typeof TaskSchema>['spec'] = {
    runtime: {
      case: 'container',
      value: {
        secrets: (options.secrets ?? []).map((secretId) => ({ secretId })),
        configs: (options.configs ?? []).map((configId) => ({ configId })),
      },
    },
    resourceReferences: (options.references ?? []).map((resourceId) => ({
      resourceId,
      resourceType: ResourceType.SECRET,
    })),
  };
  return create(TaskSchema, {
    id,
    nodeId: options.nodeId ?? 'a',
    spec,
    status: { state: options.state ?? TaskState.ASSIGNED },
    desiredState: TaskState.RUNNING,
  });
}

async function world(): Promise<{
  store: MemoryStore;
  set: AssignmentSet;
  put(task: Task): Promise<void>;
  look(...ids: string[]): string[];
}> {
  const { store } = createLocalStore(simulatedEnvironment(5), { freezeObjects: true });
  await store.update((write) => {
    for (const id of ['s1', 's2']) {
      const spec = { annotations: { name: id }, data: Buffer.from(`data of ${id}`) };
      write.create('secret', create(SecretSchema, { id, spec }));
    }
    write.create(
      'config',
      create(ConfigSchema, { id: 'c1', spec: { annotations: { name: 'c1' } } }),
    );
  });
  const set = new AssignmentSet('a');
  return {
    store,
    set,
    put: (task) =>
      store.update((write) => {
        const old = write.get('task', task.id);
        if (old === undefined) write.create('task', task);
        else write.update('task', old.meta === undefined ? task : { ...task, meta: old.meta });
      }),
    look(...ids) {
      store.view((read) => {
        for (const id of ids) set.look(id, read);
      });
      return set.take().map(describe);
    },
  };
}

function describe(change: AssignmentChange): string {
  const item = change.assignment?.item;
  const sign = change.action === AssignmentChange_AssignmentAction.UPDATE ? '+' : '-';
  return `${sign}${item?.case} ${item?.case === undefined ? '' : item.value.id}`;
}

void t.test('dependencies come before the first task that needs them, once', async (t) => {
  const w = await world();
  await w.put(newTask('t1', { secrets: ['s1', 's1'], configs: ['c1'], references: ['s2'] }));
  t.same(w.look('t1'), ['+secret s2', '+secret s1', '+config c1', '+task t1']);
  await w.put(newTask('t2', { secrets: ['s1'] }));
  t.same(w.look('t2'), ['+task t2']);
  t.same(w.look('t1', 't2'), ['+task t1', '+task t2'], 'ASSIGNED is the scheduler: sent again');
});

void t.test('a dependency goes when its last live task has ended', async (t) => {
  const w = await world();
  await w.put(newTask('t1', { secrets: ['s1'], state: TaskState.RUNNING }));
  await w.put(newTask('t2', { secrets: ['s1'], state: TaskState.RUNNING }));
  t.same(w.look('t1', 't2'), ['+secret s1', '+task t1', '+task t2']);
  await w.put(newTask('t1', { secrets: ['s1'], state: TaskState.FAILED }));
  t.same(w.look('t1'), []);
  await w.store.update((write) => write.delete('task', 't2'));
  t.same(w.look('t2'), ['-task t2', '-secret s1']);
  await w.put(newTask('t3', { secrets: ['s1'], state: TaskState.COMPLETE }));
  t.same(w.look('t3'), ['+task t3'], 'a task that is over needs nothing');
});

void t.test('own reports are no news, desired states and specs are', async (t) => {
  const w = await world();
  await w.put(newTask('t1'));
  t.same(w.look('t1'), ['+task t1']);
  await w.put(newTask('t1', { state: TaskState.RUNNING }));
  t.same(w.look('t1'), []);
  await w.put({ ...newTask('t1', { state: TaskState.RUNNING }), desiredState: TaskState.SHUTDOWN });
  t.same(w.look('t1'), ['+task t1']);
});

void t.test('tasks of others, unassigned ones and unknown secrets are not sent', async (t) => {
  const w = await world();
  await w.put(newTask('t1', { nodeId: 'b', secrets: ['s1'] }));
  await w.put(newTask('t2', { state: TaskState.PENDING, secrets: ['s1'] }));
  await w.put(newTask('t3', { secrets: ['missing'] }));
  t.same(w.look('t1', 't2', 't3', 't4'), ['+task t3']);
});

void t.test('whatever happens, an agent that applies the changes has what it needs', async (t) => {
  const states = [TaskState.PENDING, TaskState.ASSIGNED, TaskState.RUNNING, TaskState.FAILED];
  const step = fc.record({
    id: fc.constantFrom('t1', 't2', 't3'),
    state: fc.constantFrom(...states),
    secrets: fc.subarray(['s1', 's2']),
    gone: fc.boolean(),
    flush: fc.boolean(),
  });
  const property = fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20, size: 'max' }), async (steps) => {
      const w = await world();
      const held = new Set<string>();
      const dirty = new Set<string>();
      const deleted = new Set<string>();
      for (const { id, state, secrets, gone, flush } of steps) {
        const old = w.store.view((read) => read.get('task', id));
        // Observed states never go back, a task keeps its spec, and ids are never used again.
        const isForward = old === undefined || (old.status?.state ?? 0) <= state;
        const spec = old?.spec ?? newTask(id, { secrets }).spec;
        if (gone && old !== undefined) {
          await w.store.update((write) => write.delete('task', id));
          deleted.add(id);
        } else if (!deleted.has(id) && isForward && spec !== undefined)
          await w.put({ ...newTask(id, { state }), spec });
        dirty.add(id);
        if (!flush) continue;
        for (const change of w.look(...dirty)) {
          if (change.startsWith('+')) held.add(change.slice(1));
          else held.delete(change.slice(1));
        }
        dirty.clear();
        const wanted = new Set<string>();
        for (const task of w.store.view((read) => read.find('task', { by: 'node', nodeId: 'a' }))) {
          const observed = task.status?.state ?? 0;
          if (observed < TaskState.ASSIGNED) continue;
          wanted.add(`task ${task.id}`);
          if (observed > TaskState.RUNNING || task.spec?.runtime.case !== 'container') continue;
          for (const { secretId } of task.spec.runtime.value.secrets)
            wanted.add(`secret ${secretId}`);
        }
        if ([...wanted].sort().join() !== [...held].sort().join()) return false;
      }
      return true;
    }),
    { numRuns: 200, seed: 20 },
  );
  await t.resolves(property);
});

void t.test('secrets of a driver are asked for, for each task', async (t) => {
  const w = await world();
  await w.store.update((write) => {
    const spec = { annotations: { name: 'd' }, driver: { name: 'vault' } };
    write.create('secret', create(SecretSchema, { id: 'd', spec }));
  });
  const answer = (isForTaskOnly: boolean) => {
    const wanted = w.set.takeWanted();
    for (const each of wanted) w.set.provide(each, Buffer.from(each.task.id), isForTaskOnly);
    return wanted.map(({ secret, task }) => `${secret.id} for ${task.id}`);
  };
  await w.put(newTask('t1', { secrets: ['d'] }));
  w.store.view((read) => {
    w.set.look('t1', read);
    w.set.look('t1', read);
  });
  t.same(answer(false), ['d for t1']);
  t.same(w.look('t1'), ['+secret d', '+task t1']);
  t.same(w.set.takeWanted(), [], 'it has it');
  await w.put(newTask('t2', { secrets: ['d'] }));
  w.store.view((read) => w.set.look('t2', read));
  t.same(answer(true), ['d for t2']);
  t.same(w.look('t2'), ['+secret d.t2', '+task t2']);
  await w.put(newTask('t2', { secrets: ['d'], state: TaskState.FAILED }));
  t.same(w.look('t2'), ['-secret d.t2']);
  await w.put(newTask('t1', { secrets: ['d'], state: TaskState.FAILED }));
  t.same(w.look('t1'), ['-secret d']);
  await w.put(newTask('t3', { secrets: ['d'] }));
  await w.put(newTask('plain'));
  t.same(w.look('t3', 'plain'), ['+task plain'], 'only the task that waits for it waits');
  const [failed, ...more] = w.set.takeWanted();
  t.same(more, []);
  if (failed !== undefined) w.set.giveUp(failed);
  t.same(w.look(), ['+task t3'], 'a plugin that failed');
  await w.put(newTask('t4', { secrets: ['d'], state: TaskState.PREPARING }));
  await w.put(newTask('t5', { secrets: ['d'], state: TaskState.RUNNING }));
  t.same(w.look('t4', 't5'), ['+task t5'], 'a running task has had it');
  t.equal(w.set.isIncomplete, true);
  for (const each of w.set.takeWanted()) w.set.provide(each, Buffer.from('x'), true);
  t.equal(w.set.isIncomplete, false);
  t.same(w.look(), ['+secret d.t4', '+secret d.t5', '+task t4']);
  const stored = w.store.view((read) => read.get('secret', 'd'));
  t.equal(stored?.spec?.data.length, 0, 'the value is kept nowhere');
});
