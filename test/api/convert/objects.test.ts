/** Nodes, networks, tasks, clusters, secrets and configs as the API shows them. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import {
  clusterInfoFields,
  mergeClusterSpec,
  swarmFields,
} from '../../../src/api/convert/cluster.js';
import {
  durationOfNanos,
  durationToNanos,
  timestampToText,
} from '../../../src/api/convert/common.js';
import { networkResourceFields, networkSpecFromJson } from '../../../src/api/convert/network.js';
import { nodeFields, nodeSpecFromJson } from '../../../src/api/convert/node.js';
import { secretFields } from '../../../src/api/convert/secret.js';
import { taskFields } from '../../../src/api/convert/task.js';
import { parseJsonStream } from '../../../src/api/http/go-json.js';
import { GoStruct } from '../../../src/api/http/go-struct.js';
import { type JsonOut, writeJson } from '../../../src/api/http/json-text.js';
import {
  ClusterSchema,
  NetworkSchema,
  NodeSchema,
  SecretSchema,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { ClusterSpecSchema } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';

const meta = {
  version: { index: 9n },
  createdAt: { seconds: 1_795_377_970n, nanos: 592_000_000 },
  updatedAt: { seconds: 1_795_377_971n, nanos: 105_220_309 },
};
const META =
  '"Version":{"Index":9},"CreatedAt":"2026-11-22T20:06:10.592Z","UpdatedAt":"2026-11-22T20:06:11.105220309Z"';

function struct(text: string): GoStruct {
  return GoStruct.root(parseJsonStream(text), 'swarm.X');
}

function text(fields: Record<string, JsonOut | undefined>): string {
  return writeJson(fields);
}

void t.test('times and durations', async (t) => {
  t.equal(timestampToText(undefined), '1970-01-01T00:00:00Z');
  for (const nanos of [0n, 1n, -1n, 1_500_000_000n, -1_500_000_000n, 2n ** 62n]) {
    t.equal(durationToNanos(durationOfNanos(nanos)), nanos);
  }
});

void t.test('a node', async (t) => {
  const node = create(NodeSchema, {
    id: 'n1',
    meta,
    spec: { annotations: { labels: { b: '1', a: '' } }, desiredRole: NodeRole.MANAGER },
    description: {
      hostname: 'h',
      platform: { architecture: 'x86_64', os: 'linux' },
      resources: { nanoCpus: 2n, memoryBytes: 2n ** 60n },
    },
    status: { state: NodeStatus_State.READY, addr: '10.0.0.1' },
  });
  t.equal(
    text(nodeFields(node)),
    `{"ID":"n1",${META},"Spec":{"Labels":{"a":"","b":"1"},"Role":"manager","Availability":"active"},"Description":{"Hostname":"h","Platform":{"Architecture":"x86_64","OS":"linux"},"Resources":{"NanoCPUs":2,"MemoryBytes":1152921504606846976},"Engine":{},"TLSInfo":{}},"Status":{"State":"ready","Addr":"10.0.0.1"}}`,
  );
  t.throws(() => nodeSpecFromJson(struct('{"Role":"x"}')), { message: 'invalid Role: "x"' });
  t.throws(() => nodeSpecFromJson(struct('{"Role":"worker","Availability":"constructor"}')), {
    message: 'invalid Availability: "constructor"',
  });
});

void t.test('a network', async (t) => {
  const spec = networkSpecFromJson(
    struct(
      '{"Name":"n","Driver":"overlay","Attachable":true,"Options":{"encrypted":""},"IPAM":{"Config":[{"Subnet":"10.1.0.0/24","AuxiliaryAddresses":{"a":"10.1.0.9"}}]}}',
    ),
  );
  const network = create(NetworkSchema, {
    id: 'i',
    meta,
    spec,
    driverState: { name: 'overlay', options: { x: '4097' } },
    ipam: {
      driver: { name: 'default' },
      configs: [{ subnet: '10.1.0.0/24', gateway: '10.1.0.1' }],
    },
  });
  t.equal(
    text(networkResourceFields(network)),
    '{"Name":"n","Id":"i","Created":"2026-11-22T20:06:10.592Z","Scope":"swarm","Driver":"overlay","EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.1.0.0/24","Gateway":"10.1.0.1"}]},"Internal":false,"Attachable":true,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":null,"Options":{"encrypted":"","x":"4097"},"Labels":null}',
  );
});

void t.test('a task', async (t) => {
  const task = create(TaskSchema, {
    id: 'k',
    meta,
    serviceId: 's',
    slot: 1n,
    nodeId: 'n',
    desiredState: TaskState.RUNNING,
    spec: { runtime: { case: 'container', value: { image: 'i' } } },
    status: {
      timestamp: meta.updatedAt,
      state: TaskState.RUNNING,
      message: 'started',
      runtimeStatus: { case: 'container', value: { containerId: 'c', pid: 7 } },
    },
    networks: [
      { network: { id: 'w', spec: { annotations: { name: 'net' } } }, addresses: ['a/24'] },
    ],
  });
  t.equal(
    text(taskFields(task)),
    `{"ID":"k",${META},"Labels":{},"Spec":{"ContainerSpec":{"Image":"i","Isolation":"default"},"ForceUpdate":0},"ServiceID":"s","Slot":1,"NodeID":"n","Status":{"Timestamp":"2026-11-22T20:06:11.105220309Z","State":"running","Message":"started","ContainerStatus":{"ContainerID":"c","PID":7,"ExitCode":0},"PortStatus":{}},"DesiredState":"running","NetworksAttachments":[{"Network":{"ID":"w","Version":{},"CreatedAt":"1970-01-01T00:00:00Z","UpdatedAt":"1970-01-01T00:00:00Z","Spec":{"Name":"net","Labels":{},"Scope":"swarm"},"DriverState":{}},"Addresses":["a/24"]}]}`,
  );
});

void t.test('a cluster: tokens only where asked for, keys never', async (t) => {
  const cluster = create(ClusterSchema, {
    id: 'c',
    rootCa: {
      caKey: Buffer.from('PRIVATE'),
      caCert: Buffer.from('no certificate'),
      joinTokens: { worker: 'W', manager: 'M' },
    },
    spec: { caConfig: { signingCaKey: Buffer.from('PRIVATE') } },
    unlockKeys: [{ key: Buffer.from('PRIVATE') }],
  });
  const info = text(clusterInfoFields(cluster));
  t.notMatch(info, /JoinTokens/);
  t.match(text(swarmFields(cluster)), '"JoinTokens":{"Worker":"W","Manager":"M"}');
  for (const shown of [info, text(swarmFields(cluster))]) {
    t.notMatch(shown, /PRIVATE|UFJJVkFURQ/);
  }
});

void t.test('a cluster spec: merged at init, replaced at update', async (t) => {
  const base = create(ClusterSpecSchema, {
    annotations: { name: 'default' },
    orchestration: { taskHistoryRetentionLimit: 5n },
    raft: { snapshotInterval: 10_000n, electionTick: 10 },
    dispatcher: { heartbeatPeriod: durationOfNanos(5_000_000_000n) },
  });
  const json = struct(
    '{"Orchestration":{"TaskHistoryRetentionLimit":0},"Raft":{"ElectionTick":3}}',
  );
  const merged = mergeClusterSpec(json, base);
  t.match(merged, {
    annotations: { name: 'default' },
    orchestration: { taskHistoryRetentionLimit: 0n },
    raft: { snapshotInterval: 10_000n, electionTick: 3 },
    dispatcher: { heartbeatPeriod: { seconds: 5n } },
  });
  const replaced = mergeClusterSpec(json, create(ClusterSpecSchema));
  t.equal(replaced.raft?.snapshotInterval, 0n);
  t.equal(replaced.dispatcher?.heartbeatPeriod, undefined);
  t.throws(
    () => mergeClusterSpec(struct('{"CAConfig":{"ExternalCAs":[{"Protocol":"x"}]}}'), base),
    {
      message: 'invalid protocol: "x"',
    },
  );
});

void t.test('a secret is shown without its data', async (t) => {
  const secret = create(SecretSchema, {
    id: 'x',
    spec: { annotations: { name: 's' }, data: Buffer.from('PRIVATE') },
  });
  t.notMatch(text(secretFields(secret)), /Data|UFJJVkFURQ/);
});
