/** Services that are scaled by the CPU their tasks use (`skep.autoscale.*`). */
import t, { type Test } from 'tap';
import { ScaleHistory, neededReplicas } from '../../../src/manager/orchestrator/scale-decision.js';
import type { ScaleRecord } from '../../../src/manager/orchestrator/scale-record.js';
import { autoscaleSettings } from '../../../src/model/autoscale.js';
import { NodeSpec_Availability as Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { checkLabels } from '../../../src/model/labels/check.js';
import { isWanted } from '../../../src/model/task-state.js';
import { makeNode, makeService } from '../simulation/objects.js';
import { onScaleRecords } from '../simulation/load.js';
import { World } from '../simulation/world.js';

type Spec = NonNullable<Parameters<typeof makeService>[1]>;

const LABELS = {
  'skep.autoscale.min': '2',
  'skep.autoscale.max': '8',
  'skep.autoscale.cpu': '50',
  'skep.autoscale.window': '30s',
  'skep.autoscale.cooldown': '60s',
};
const settings = autoscaleSettings(LABELS);
if (settings === undefined) throw new Error('the labels are settings');
const BOUNDS = settings;

const cases: {
  readonly name: string;
  readonly replicas: number;
  readonly percents: readonly number[];
  readonly needed: number | undefined;
}[] = [
  { name: 'as wanted', replicas: 2, percents: [50, 50], needed: 2 },
  { name: 'within a tenth of it', replicas: 4, percents: [54, 54, 54, 55], needed: 4 },
  { name: 'more', replicas: 2, percents: [90, 70], needed: 4 },
  { name: 'much more', replicas: 2, percents: [900, 700], needed: 8 },
  { name: 'less', replicas: 6, percents: [20, 20, 20, 20, 20, 20], needed: 3 },
  { name: 'nothing', replicas: 6, percents: [0, 0, 0, 0, 0, 0], needed: 2 },
  { name: 'more, one not known: counts as nothing', replicas: 3, percents: [90, 90], needed: 4 },
  { name: 'just above, one not known: no reason', replicas: 3, percents: [60, 60], needed: 3 },
  { name: 'less, two not known: count as wanted', replicas: 4, percents: [10, 10], needed: 3 },
  { name: 'too little known', replicas: 5, percents: [90, 90], needed: undefined },
  { name: 'nothing known', replicas: 2, percents: [], needed: undefined },
];
for (const { name, needed, ...load } of cases) {
  void t.test(`replicas needed: ${name}`, (t) => {
    t.equal(neededReplicas(load, BOUNDS), needed);
    t.end();
  });
}

void t.test('a need counts when it has lasted for the window, with the least change', (t) => {
  const history = new ScaleHistory();
  const look = (atS: number, needed: number | undefined) => {
    history.note(atS * 1000, 2, needed);
    return history.decide(atS * 1000, BOUNDS);
  };
  t.same(
    [0, 10, 20].map((atS) => look(atS, 6)),
    [undefined, undefined, undefined],
  );
  t.equal(look(30, 4), 4, 'not more than at every look');
  t.equal(look(40, 2), undefined, 'once no more needed');
  t.equal(look(50, undefined), undefined);
  t.same(
    [60, 70, 80].map((atS) => look(atS, 5)),
    [undefined, undefined, undefined],
    'anew',
  );
  t.equal(look(90, 5), 5);
  history.decided(90_000);
  t.same([100, 110, 120, 130, 140].map((atS) => look(atS, 5)).filter(Boolean), [], 'cooldown');
  t.equal(look(150, 5), 5);
  t.end();
});

void t.test('labels that make no sense together are refused', (t) => {
  const refused = (labels: Record<string, string>) => () => checkLabels('service', labels);
  t.throws(refused({ 'skep.autoscale.max': '3' }), { message: /go together/ });
  t.throws(refused({ 'skep.autoscale.cpu': '70' }), { message: /go together/ });
  t.throws(refused({ ...LABELS, 'skep.autoscale.min': '9' }), { message: /must be at most 8/ });
  t.throws(refused({ ...LABELS, 'skep.autoscale.cpu': '0' }), { message: /must be 1 to 1000/ });
  t.doesNotThrow(refused(LABELS));
  t.doesNotThrow(refused({ 'skep.autoscale.max': '3', 'skep.autoscale.cpu': '70' }));
  t.end();
});

/** `web` under a load that its tasks share; nodes tell of it every 10 s. */
class Load {
  /** Thousandths of a CPU of all tasks together. */
  milliCpus = 0;
  readonly decisions: ScaleRecord[] = [];

  constructor(readonly world: World) {
    onScaleRecords(world.store, (record) => this.decisions.push(record));
  }

  static async on(t: Test, replicas: number, spec: Spec = {}, labels = {}): Promise<Load> {
    const world = new World(9);
    await world.start(['n1', 'n2', 'n3'].map((id) => makeNode(id)));
    t.teardown(() => world.stop());
    const service = makeService('web', {
      annotations: { name: 'web', labels: { ...LABELS, ...labels } },
      mode: { case: 'replicated', value: { replicas: BigInt(replicas) } },
      ...spec,
    });
    await world.put('service', service);
    return new Load(world);
  }

  get replicas(): number {
    const mode = this.world.service('web').spec?.mode;
    return mode?.case === 'replicated' ? Number(mode.value.replicas) : -1;
  }

  get running() {
    return this.world
      .tasksOf('web')
      .filter((task) => isWanted(task) && task.status?.state === TaskState.RUNNING);
  }

  /** Time passes under this load. */
  async run(seconds: number, milliCpus: number): Promise<void> {
    for (let passed = 0; passed < seconds; passed += 5) {
      await this.world.run(5000);
      const tasks = this.running;
      for (const { id, nodeId } of tasks)
        this.world.usage.report(nodeId, [{ taskId: id, milliCpus: milliCpus / tasks.length }]);
    }
  }
}

void t.test('follows the load between its bounds', async (t) => {
  const load = await Load.on(t, 2);
  const seen: number[] = [];
  load.world.store.subscribe(() => {
    if (seen.at(-1) !== load.replicas) seen.push(load.replicas);
  });
  await load.run(120, 1000);
  t.equal(load.replicas, 2, 'as wanted');
  const before = load.world.service('web');
  await load.run(25, 3000);
  t.equal(load.replicas, 2, 'not at once');
  await load.run(30, 3000);
  t.equal(load.replicas, 6);
  t.equal(load.running.length, 6);
  await load.run(300, 10_000);
  t.equal(load.replicas, 8, 'never above');
  await load.run(300, 500);
  t.equal(load.replicas, 2, 'never below');
  t.same(seen, [2, 6, 8, 2]);
  const after = load.world.service('web');
  t.equal(after.specVersion?.index, before.specVersion?.index, 'tasks are as they were');
  t.equal(after.updateStatus, undefined);
  t.equal(after.previousSpec, undefined);
  t.same(load.decisions[0], {
    serviceId: 'web',
    serviceName: 'web',
    attributes: { 'replicas.old': '2', 'replicas.new': '6', 'dry-run': 'false' },
  });
});

void t.test('percent are of what a task reserves, else of its limit', async (t) => {
  for (const resources of [
    { reservations: { nanoCpus: 100_000_000n }, limits: { nanoCpus: 1_000_000_000n } },
    { limits: { nanoCpus: 100_000_000n } },
  ]) {
    const load = await Load.on(t, 2, { task: { resources } });
    await load.run(120, 200);
    t.equal(load.replicas, 4, '100 % of a tenth of a CPU each');
  }
});

void t.test('a dry run tells, after each cooldown, and changes nothing', async (t) => {
  const load = await Load.on(t, 2, {}, { 'skep.autoscale.dry-run': 'true' });
  await load.run(200, 3000);
  t.equal(load.replicas, 2);
  t.equal(load.decisions.length, 3);
  t.match(load.decisions[0]?.attributes, { 'replicas.new': '6', 'dry-run': 'true' });
});

void t.test('what users do', async (t) => {
  const load = await Load.on(t, 4, {}, { 'skep.autoscale.window': '60s' });
  const scale = (replicas: number) =>
    load.world.updateService('web', (spec) => ({
      ...spec,
      mode: {
        case: 'replicated',
        value: { $typeName: 'docker.swarmkit.v1.ReplicatedService', replicas: BigInt(replicas) },
      },
    }));
  await load.run(120, 2000);
  t.equal(load.replicas, 4);
  await scale(7);
  await load.run(50, 2000);
  t.equal(load.replicas, 7, 'holds for a window');
  await load.run(200, 2000);
  t.equal(load.replicas, 4);
  await scale(20);
  await load.run(15, 2000);
  t.equal(load.replicas, 8, 'beyond the bounds it is corrected');
  await scale(1);
  await load.run(15, 2000);
  t.equal(load.replicas, 2);
  await scale(0);
  await load.run(300, 2000);
  t.equal(load.replicas, 0, 'off');
});

void t.test('without statistics nothing is decided', async (t) => {
  const load = await Load.on(t, 4);
  await load.world.run(600_000);
  t.equal(load.replicas, 4);
  t.equal(load.decisions.length, 0);
});

void t.test('an update is not disturbed, and a rollback keeps the number', async (t) => {
  const load = await Load.on(t, 2, { update: { parallelism: 1n, delay: { seconds: 100n } } });
  await load.run(60, 1000);
  await load.world.updateService('web', (spec) => ({
    ...spec,
    task: spec.task && { ...spec.task, forceUpdate: 1n },
  }));
  await load.run(120, 3000);
  t.match(load.world.service('web').updateStatus, { message: 'update in progress' });
  t.equal(load.replicas, 2);
  await load.run(220, 3000);
  t.match(load.world.service('web').updateStatus, { message: 'update completed' });
  t.equal(load.replicas, 6);
  await load.world.rollBackService('web');
  await load.run(5, 3000);
  t.equal(load.replicas, 6);
  t.equal(load.world.service('web').spec?.task?.forceUpdate, 0n);
});

void t.test('a node that goes, another leader: no jump', async (t) => {
  const load = await Load.on(t, 6);
  await load.run(120, 3000);
  await load.world.setAvailability('n1', Availability.DRAIN);
  await load.run(60, 3000);
  await load.world.changeLeader();
  load.world.usage.clear();
  await load.run(120, 3000);
  t.equal(load.replicas, 6);
  t.equal(load.decisions.length, 0);
});

void t.test('nodes are believed about their own tasks of such services only', async (t) => {
  const load = await Load.on(t, 2);
  const { world } = load;
  await world.put('service', makeService('other'));
  await world.run(2000);
  const [task] = load.running;
  const [other] = world.tasksOf('other');
  if (task === undefined || other === undefined) throw new Error('they run');
  const elsewhere = ['n1', 'n2', 'n3'].find((id) => id !== task.nodeId) ?? '';
  world.usage.report(elsewhere, [{ taskId: task.id, milliCpus: 5 }]);
  world.usage.report(other.nodeId, [{ taskId: other.id, milliCpus: 5 }]);
  world.usage.report(task.nodeId, [{ taskId: 'nothing', milliCpus: 5 }]);
  world.usage.report(task.nodeId, [{ taskId: task.id, milliCpus: 4_000_000_000 }]);
  t.equal(world.usage.size, 0);
  world.usage.report(task.nodeId, [{ taskId: task.id, milliCpus: 5 }]);
  t.equal(world.usage.milliCpus(task.id), 5);
  const many = Array.from({ length: 1001 }, () => ({ taskId: task.id, milliCpus: 5 }));
  t.throws(() => world.usage.report(task.nodeId, many), { code: 'invalid_argument' });
  await world.run(31_000);
  t.equal(world.usage.milliCpus(task.id), undefined, 'too old');
  world.usage.report(task.nodeId, []);
  t.equal(world.usage.size, 0);
});
