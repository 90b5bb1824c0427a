/** Makers of nodes, services and networks for tests of the leader's loops. */
import { create, type DescMessage, type Message, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Cluster,
  ClusterSchema,
  type Network,
  NetworkSchema,
  type Node,
  NodeSchema,
  type Service,
  ServiceSchema,
  type Task,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  NetworkSpecSchema,
  ServiceSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { AGENT_PLUGIN } from '../../../src/model/agent-kind.js';
import { AGENT_VERSION_LABEL } from '../../../src/model/labels/keys.js';
import {
  EngineDescriptionSchema,
  NodeStatus_State,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';

/** Fields of a message to be made. */
type Init<D extends DescMessage> = Exclude<MessageInitShape<D>, Message>;

/** 2 cores and 4 GiB; enough unless a test says otherwise. */
const NODE_RESOURCES = { nanoCpus: 2_000_000_000n, memoryBytes: 4n * 1024n ** 3n };

/** The cluster object with defaults, or what `init` says. */
export function makeCluster(init: Init<typeof ClusterSchema> = {}): Cluster {
  return create(ClusterSchema, {
    id: 'cluster',
    spec: {
      annotations: { name: 'default' },
      orchestration: { taskHistoryRetentionLimit: 5n },
    },
    defaultAddressPool: ['10.0.0.0/8'],
    subnetSize: 24,
    ...init,
  });
}

/** A ready, active worker. */
export function makeNode(id: string, init: Init<typeof NodeSchema> = {}): Node {
  return create(NodeSchema, {
    id,
    spec: {},
    status: { state: NodeStatus_State.READY, addr: '192.0.2.1' },
    description: {
      hostname: id,
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: NODE_RESOURCES,
      engine: { plugins: [] },
    },
    ...init,
  });
}

/** As {@link makeNode}, a node that runs skepd. */
export function makeSkepdNode(id: string): Node {
  const node = makeNode(id);
  const engine = { labels: { [AGENT_VERSION_LABEL]: '1' }, plugins: [AGENT_PLUGIN] };
  if (node.description !== undefined) {
    node.description.engine = create(EngineDescriptionSchema, engine);
  }
  return node;
}

/** A service; without a mode it is replicated with one replica. */
export function makeService(
  id: string,
  spec: Init<typeof ServiceSpecSchema> = {},
  init: Init<typeof ServiceSchema> = {},
): Service {
  return create(ServiceSchema, {
    id,
    spec: {
      annotations: { name: id },
      mode: { case: 'replicated', value: { replicas: 1n } },
      endpoint: {},
      task: { runtime: { case: 'container', value: { image: 'image:1' } } },
      ...spec,
    },
    specVersion: { index: 1n },
    ...init,
  });
}

/** An overlay network. */
export function makeNetwork(id: string, spec: Init<typeof NetworkSpecSchema> = {}): Network {
  return create(NetworkSchema, { id, spec: { annotations: { name: id }, ...spec } });
}

/** A running task of a service. */
export function makeTask(id: string, init: Init<typeof TaskSchema> = {}): Task {
  return create(TaskSchema, {
    id,
    status: { state: TaskState.RUNNING },
    desiredState: TaskState.RUNNING,
    ...init,
  });
}
