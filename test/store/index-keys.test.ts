/** A version whose index keys are taken for those of the one before has the same. */
import { create } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import {
  NodeSchema,
  ServiceSchema,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeRole, TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { descriptorOf, indexKeys } from '../../src/store/tables.js';
import type { TableName, Tables } from '../../src/store/types.js';

/** Every field apart from the id differs between `a` and `b`. */
function task(mark: string, number: number, state: TaskState): Tables['task'] {
  return create(TaskSchema, {
    id: 'task1',
    spec: {
      networks: [{ target: `net${mark}` }],
      runtime: { case: 'container', value: { secrets: [{ secretId: `secret${mark}` }] } },
    },
    annotations: { name: number === 1 ? '' : 'given' },
    serviceAnnotations: { name: `service-${mark}` },
    serviceId: `service${mark}`,
    nodeId: `node${mark}`,
    slot: BigInt(number),
    desiredState: state,
    status: { state },
    networks: [{ network: { id: `attached${mark}` } }],
  });
}

function service(mark: string): Tables['service'] {
  const spec = { annotations: { name: `name-${mark}` }, task: { networks: [{ target: mark }] } };
  return create(ServiceSchema, { id: 'service1', spec, previousSpec: spec });
}

function node(mark: string, role: NodeRole): Tables['node'] {
  return create(NodeSchema, { id: 'node1', role, description: { hostname: mark } });
}

/** Takes over one field after the other. */
function check<T extends TableName>(t: Test, table: T, a: Tables[T], b: Tables[T]): void {
  const { schema, sharesKeys } = descriptorOf(table);
  const keysOf = (object: Tables[T]): string[] => [...indexKeys(table, object)].sort();
  let differing = 0;
  for (const { localName: name } of schema.members) {
    const changed = { ...a, [name]: (b as unknown as Record<string, unknown>)[name] };
    if (sharesKeys(a, changed)) t.strictSame(keysOf(changed), keysOf(a), `${table} ${name}`);
    else differing += 1;
  }
  t.ok(differing > 0);
  t.ok(sharesKeys(a, { ...a }));
}

void t.test('keys of versions that share them', async (t) => {
  const { NEW, RUNNING } = TaskState;
  check(t, 'task', task('a', 1, NEW), task('b', 2, RUNNING));
  // Where no name is given it is made of others, the node among them.
  check(t, 'task', { ...task('a', 1, NEW), slot: 0n }, { ...task('b', 1, NEW), slot: 3n });
  check(t, 'service', service('a'), service('b'));
  check(t, 'node', node('a', NodeRole.WORKER), node('b', NodeRole.MANAGER));
});
