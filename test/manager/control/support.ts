/** A Control API over a store in memory, and specs that pass its checks, for the tests beside. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { StoreControl } from '../../../src/manager/control/store-control.js';
import { newId } from '../../../src/model/ids.js';
import { SkepError } from '../../../src/model/errors.js';
import { ClusterSchema, NodeSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NetworkSpecSchema,
  type NetworkSpec,
  type ServiceSpec,
  ServiceSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type NodeRole,
  NodeStatus_State,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { MemoryStore } from '../../../src/store/memory-store.js';
import { LocalProposer } from '../../../src/store/proposer.js';
import { simulatedEnvironment } from '../../support/simulated-environment.js';

/** Managers of the raft group, as the test sets them. */
export interface TestManagers {
  members: Set<string>;
  removable: boolean;
}

/** A control with its store and one cluster object. */
export async function testControl(seed = 1) {
  const environment = simulatedEnvironment(seed);
  const proposer = new LocalProposer();
  const store = new MemoryStore({ environment, proposer, freezeObjects: true });
  proposer.attach(store);
  const managers: TestManagers = { members: new Set(), removable: true };
  const control = new StoreControl({
    store,
    environment,
    managers: {
      isMember: (nodeId) => managers.members.has(nodeId),
      canRemove: () => managers.removable,
    },
  });
  await store.update((write) => {
    write.create(
      'cluster',
      create(ClusterSchema, {
        id: newId(environment.random),
        spec: { annotations: { name: 'default' } },
        rootCa: {
          caKey: Buffer.from('top secret'),
          caCert: Buffer.from('root'),
          joinTokens: { worker: 'SWMTKN-1-w', manager: 'SWMTKN-1-m' },
        },
        networkBootstrapKeys: [{ subsystem: 'networking:gossip', key: Buffer.from('key') }],
      }),
    );
  });
  return { control, store, environment, managers };
}

/** Code and text of what `work` throws. */
export async function refusalOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'accepted';
  } catch (error) {
    const { code, message } = SkepError.from(error);
    return `${code}: ${message}`;
  }
}

/** A replicated service that passes all checks, with parts replaced. */
export function serviceSpec(
  name: string,
  parts: MessageInitShape<typeof ServiceSpecSchema> = {},
): ServiceSpec {
  return create(ServiceSpecSchema, {
    annotations: { name },
    task: { runtime: { case: 'container', value: { image: 'skep-test/web:1' } } },
    mode: { case: 'replicated', value: { replicas: 1n } },
    ...parts,
  } as MessageInitShape<typeof ServiceSpecSchema>);
}

/** An overlay network, with parts replaced. */
export function networkSpec(
  name: string,
  parts: MessageInitShape<typeof NetworkSpecSchema> = {},
): NetworkSpec {
  return create(NetworkSpecSchema, {
    annotations: { name },
    driverConfig: { name: 'overlay' },
    ...parts,
  } as MessageInitShape<typeof NetworkSpecSchema>);
}

/** A node object. */
export function testNode(id: string, role: NodeRole, state = NodeStatus_State.READY) {
  return create(NodeSchema, {
    id,
    spec: { annotations: {}, desiredRole: role },
    role,
    status: { state },
  });
}
