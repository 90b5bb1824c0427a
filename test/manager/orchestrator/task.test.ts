/** Tasks: when one is out of date. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { TaskSpecSchema } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isTaskDirty } from '../../../src/manager/orchestrator/task.js';
import { makeNode, makeService, makeTask } from '../simulation/objects.js';

const constrained = (...constraints: string[]) => ({ placement: { constraints } });
const container = (image: string, registryAuth = '') => ({
  runtime: { case: 'container' as const, value: { image, pullOptions: { registryAuth } } },
});
const mounted = (...targets: string[]) => ({
  runtime: {
    case: 'container' as const,
    value: { image: 'a', mounts: targets.map((target) => ({ source: `/from${target}`, target })) },
  },
});
const dirtyCases: {
  readonly name: string;
  readonly was: Parameters<typeof create<typeof TaskSpecSchema>>[1];
  readonly now: Parameters<typeof create<typeof TaskSpecSchema>>[1];
  readonly state?: TaskState;
  readonly dirty: boolean;
}[] = [
  { name: 'the same', was: container('a'), now: container('a'), dirty: false },
  { name: 'another image', was: container('a'), now: container('b'), dirty: true },
  { name: 'forced', was: {}, now: { forceUpdate: 1n }, dirty: true },
  { name: 'a constraint its node meets', was: {}, now: constrained('node.id==n1'), dirty: false },
  { name: 'a constraint it does not', was: {}, now: constrained('node.id==n2'), dirty: true },
  { name: 'constraint dropped', was: constrained('node.id==n1'), now: {}, dirty: false },
  { name: 'another limit', was: {}, now: { placement: { maxReplicas: 1n } }, dirty: true },
  {
    name: 'mounts in another order',
    was: mounted('/a', '/b'),
    now: mounted('/b', '/a'),
    dirty: false,
  },
  { name: 'another mount', was: mounted('/a', '/b'), now: mounted('/a', '/c'), dirty: true },
  { name: 'credentials', was: container('a', 'x'), now: container('a', 'y'), dirty: false },
  {
    name: 'credentials before the image is there',
    was: container('a', 'x'),
    now: container('a', 'y'),
    state: TaskState.PREPARING,
    dirty: true,
  },
];

for (const { name, was, now, state, dirty } of dirtyCases) {
  void t.test(`task ${dirty ? 'is' : 'is not'} out of date: ${name}`, async (t) => {
    const service = makeService('web', { task: create(TaskSpecSchema, now) });
    const task = makeTask('t', {
      spec: create(TaskSpecSchema, was),
      specVersion: { index: 99n },
      nodeId: 'n1',
      endpoint: { spec: {} },
      status: { state: state ?? TaskState.RUNNING },
    });
    t.equal(isTaskDirty(service, task, makeNode('n1')), dirty);
    const current = { ...task, specVersion: service.specVersion };
    t.notOk(isTaskDirty(service, current, makeNode('n1')), 'never at the same spec version');
  });
}

void t.test('a task is out of date when settings of its container changed', async (t) => {
  const labels = { 'skep.container.pid': 'host', other: '1' };
  const dirty = (own: Record<string, string>, now: Record<string, string>): boolean =>
    isTaskDirty(
      makeService('web', { annotations: { name: 'web', labels: now } }),
      makeTask('t', {
        serviceAnnotations: { name: 'web', labels: own },
        spec: makeService('web', {}).spec?.task ?? {},
        specVersion: { index: 99n },
        nodeId: 'n1',
        endpoint: { spec: {} },
        status: { state: TaskState.RUNNING },
      }),
      makeNode('n1'),
    );
  t.notOk(dirty(labels, labels));
  t.notOk(dirty(labels, { 'skep.container.pid': 'host' }), 'another label');
  t.ok(dirty(labels, {}));
  t.ok(dirty({}, labels));
  t.notOk(dirty({}, { 'skep.container.engine_socket': 'true' }));
});

void t.test('a task is out of date when its ports are', async (t) => {
  const service = makeService('web', { endpoint: { ports: [{ targetPort: 80 }] } });
  const task = makeTask('t', {
    ...(service.spec?.task === undefined ? {} : { spec: service.spec.task }),
    endpoint: { spec: {} },
  });
  t.ok(isTaskDirty(service, task, undefined));
});
