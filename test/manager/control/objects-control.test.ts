/** Networks, nodes, the cluster, secrets and configs of the Control API. */
import { clone, create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import { ClusterSchema, TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  ClusterSpecSchema,
  ConfigSpecSchema,
  type NetworkSpecSchema,
  NodeSpecSchema,
  SecretSpecSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  NodeRole,
  NodeStatus_State as NodeState,
  TaskState,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { networkSpec, refusalOf, serviceSpec, testControl, testNode } from './support.js';

function version(object: { meta?: { version?: { index: bigint } | undefined } | undefined }) {
  return object.meta?.version?.index ?? 0n;
}

function ipam(config: object): MessageInitShape<typeof NetworkSpecSchema> {
  return { ipam: { configs: [config] } };
}

void t.test('networks are refused with SwarmKit texts', async (t) => {
  const { control } = await testControl();
  const cases: readonly (readonly [MessageInitShape<typeof NetworkSpecSchema>, string])[] = [
    [ipam({}), 'invalid_argument: ipam configuration: cannot be empty'],
    [ipam({ subnet: 'x' }), 'invalid_argument: ipam configuration: invalid subnet x'],
    [
      ipam({ subnet: '10.1.0.0/24', range: '10.1.0.300/28' }),
      'invalid_argument: ipam configuration: invalid range 10.1.0.300/28',
    ],
    [
      ipam({ subnet: '10.1.0.0/24', range: '10.2.0.0/28' }),
      'invalid_argument: ipam configuration: subnet 10.1.0.0/24 does not contain range 10.2.0.0/28',
    ],
    [
      ipam({ subnet: '10.1.0.0/24', gateway: '10.1' }),
      'invalid_argument: ipam configuration: invalid gateway 10.1',
    ],
    [
      ipam({ subnet: '10.1.0.0/24', gateway: '10.2.0.1' }),
      'invalid_argument: ipam configuration: subnet 10.1.0.0/24 does not contain gateway 10.2.0.1',
    ],
    [{ ingress: true, attachable: true }, 'invalid_argument: ingress network cannot be attachable'],
    [
      { driverConfig: { name: 'macvlan' } },
      'invalid_argument: error during lookup of plugin macvlan',
    ],
    [
      { ipam: { configs: [{ subnet: '10.1.0.0/16' }, { subnet: 'fd00::/113' }] } },
      'invalid_argument: ipam configuration: IPv6 subnet fd00::/113 has fewer addresses than ' +
        '10.1.0.0/16',
    ],
    [
      { ipam: { configs: [{ subnet: 'fd00::/64' }, { subnet: 'fd01::/64' }] } },
      'invalid_argument: ipam configuration: each IPv6 subnet needs an IPv4 subnet beside it',
    ],
    [
      ipam({ subnet: 'fd00::/64', range: 'fd00::/80' }),
      'invalid_argument: ipam configuration: fd00::/64 cannot have an address range',
    ],
    [
      {
        ipam: {
          configs: [
            { subnet: '10.1.0.0/24', gateway: '10.1.0.9' },
            { subnet: 'fd00::/64', gateway: 'fd00::1' },
          ],
        },
      },
      'invalid_argument: ipam configuration: the IPv6 gateway beside 10.1.0.0/24 is fd00::9',
    ],
    [
      {
        ipam: {
          configs: [{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64', gateway: 'fd00::99' }],
        },
      },
      'invalid_argument: ipam configuration: the IPv6 gateway beside 10.1.0.0/24 is fd00::1',
    ],
    ...['fe80::/64', 'ff02::/64', '::/0', '::ffff:0:0/96'].map(
      (subnet) =>
        [
          ipam({ subnet }),
          `invalid_argument: ipam configuration: ${subnet} has addresses that mean something else`,
        ] as const,
    ),
    [
      { annotations: { name: 'n', labels: { 'com.docker.swarm.predefined': 'true' } } },
      'permission_denied: label com.docker.swarm.predefined is for internally created ' +
        'predefined networks and cannot be applied by users',
    ],
  ];
  for (const [parts, text] of cases) {
    t.equal(await refusalOf(() => control.createNetwork(networkSpec('n', parts))), text);
  }
  const options = { encrypted: '' };
  await control.createNetwork(networkSpec('s', { driverConfig: { name: 'overlay', options } }));
  await control.createNetwork(networkSpec('n', ipam({ subnet: '10.1.0.0/24' })));
  t.equal(
    await refusalOf(() => control.createNetwork(networkSpec('n'))),
    'unknown: name conflicts with an existing object',
  );
});

void t.test('an encrypted ingress network needs a data path that WireGuard can use', async (t) => {
  const { control, store } = await testControl();
  const driverConfig = { name: 'overlay', options: { encrypted: '' } };
  const spec = networkSpec('mesh', { ingress: true, driverConfig });
  const setFamily = async (family: string) => {
    await store.update((write) => {
      const [cluster] = write.find('cluster', { by: 'all' });
      const labels = { 'skep.data_path.family': family };
      const annotations = create(AnnotationsSchema, { name: 'default', labels });
      const changed = create(
        ClusterSchema,
        cluster === undefined ? { id: 'cluster' } : clone(ClusterSchema, cluster),
      );
      changed.spec = create(ClusterSpecSchema, { annotations });
      if (cluster === undefined) write.create('cluster', changed);
      else write.update('cluster', changed);
    });
  };
  await setFamily('ipv6');
  t.equal(
    await refusalOf(() => control.createNetwork(spec)),
    'failed_precondition: an encrypted ingress network needs data path addresses of IPv4',
  );
  await setFamily('ipv4');
  await control.createNetwork(spec);
});

void t.test('a network in use cannot be removed', async (t) => {
  const { control, store } = await testControl();
  const network = await control.createNetwork(networkSpec('net'));
  const service = await control.createService(
    serviceSpec('web', {
      task: {
        runtime: { case: 'container', value: { image: 'web' } },
        networks: [{ target: network.id }],
      },
    }),
  );
  t.equal(
    await refusalOf(() => control.removeNetwork(network.id)),
    `failed_precondition: network ${network.id} is in use by service ${service.id}`,
  );
  await control.removeService(service.id);
  const task = create(TaskSchema, {
    id: 'task1',
    spec: { networks: [{ target: network.id }] },
    networks: [{ network }],
    desiredState: TaskState.RUNNING,
    status: { state: TaskState.RUNNING },
  });
  await store.update((write) => write.create('task', task));
  t.equal(
    await refusalOf(() => control.removeNetwork(network.id)),
    `failed_precondition: network ${network.id} is in use by task task1`,
  );
  await store.update((write) => write.delete('task', 'task1'));
  await control.removeNetwork(network.id);
  t.equal(
    await refusalOf(() => control.getNetwork(network.id)),
    `not_found: network ${network.id} not found`,
  );
});

void t.test('one ingress network, not named by services, kept while ports need it', async (t) => {
  const { control } = await testControl();
  const ingress = await control.createNetwork(networkSpec('ingress', { ingress: true }));
  t.equal(
    await refusalOf(() => control.createNetwork(networkSpec('second', { ingress: true }))),
    `already_exists: ingress network (${ingress.id}) is already present`,
  );
  const onIngress = serviceSpec('web', {
    task: {
      runtime: { case: 'container', value: { image: 'web' } },
      networks: [{ target: ingress.id }],
    },
  });
  t.equal(
    await refusalOf(() => control.createService(onIngress)),
    'invalid_argument: Service cannot be explicitly attached to the ingress network "ingress"',
  );
  const web = await control.createService(
    serviceSpec('web', { endpoint: { ports: [{ targetPort: 80, publishedPort: 8000 }] } }),
  );
  t.equal(
    await refusalOf(() => control.removeNetwork(ingress.id)),
    'failed_precondition: ingress network cannot be removed because service ' +
      `${web.id} depends on it`,
  );
});

void t.test('nodes: demotion and removal', async (t) => {
  const { control, store, managers } = await testControl();
  await store.update((write) => {
    write.create('node', testNode('m1', NodeRole.MANAGER));
    write.create('node', testNode('w1', NodeRole.WORKER));
  });
  const worker = create(NodeSpecSchema, { annotations: {}, desiredRole: NodeRole.WORKER });
  const demote = (): unknown => control.updateNode('m1', version(control.getNode('m1')), worker);
  t.equal(
    await refusalOf(demote),
    'failed_precondition: attempting to demote the last manager of the swarm',
  );
  await store.update((write) => write.create('node', testNode('m2', NodeRole.MANAGER)));
  t.equal(await refusalOf(demote), "not_found: can't find manager in raft memberlist");
  managers.members = new Set(['m1', 'm2']);
  managers.removable = false;
  t.equal(
    await refusalOf(demote),
    "failed_precondition: can't remove member from the raft: this would result in a loss of quorum",
  );
  t.equal(
    await refusalOf(() => control.removeNode('m1', { force: true })),
    'failed_precondition: node m1 is a cluster manager and is a member of the raft cluster. ' +
      'It must be demoted to worker before removal',
  );
  t.equal(
    await refusalOf(() => control.removeNode('w1', { force: false })),
    "failed_precondition: node w1 is not down and can't be removed",
  );
  await store.update((write) =>
    write.create('node', testNode('w2', NodeRole.WORKER, NodeState.DOWN)),
  );
  await control.removeNode('w2', { force: false });
  await control.removeNode('w1', { force: true });
  t.same(
    control.listNodes().map((node) => node.id),
    ['m1', 'm2'],
  );
  t.same(Object.keys(control.getCluster().blacklistedCertificates).sort(), ['w1', 'w2']);
  t.equal(
    await refusalOf(() => control.removeNode('w1', { force: true })),
    'not_found: node w1 not found',
  );
});

void t.test('the cluster: keys stay inside, rules for its spec, tokens rotate', async (t) => {
  const { control } = await testControl();
  const cluster = control.getCluster();
  t.equal(cluster.rootCa?.caKey.length, 0);
  t.same(cluster.networkBootstrapKeys, []);
  t.equal(cluster.rootCa?.joinTokens?.worker, 'SWMTKN-1-w');
  const none = { workerJoinToken: false, managerJoinToken: false, managerUnlockKey: false };
  const cases: readonly (readonly [MessageInitShape<typeof ClusterSpecSchema>, string])[] = [
    [
      { annotations: { name: 'mine' } },
      'invalid_argument: modification of cluster name is not allowed',
    ],
    [
      { caConfig: { nodeCertExpiry: { seconds: 60n } } },
      'invalid_argument: minimum certificate expiry time is: 1h0m0s',
    ],
    [
      { dispatcher: { heartbeatPeriod: { seconds: -5n } } },
      'invalid_argument: heartbeat time period cannot be a negative duration',
    ],
    [
      { annotations: { name: 'default', labels: { 'skep.agent_grace': '1ms' } } },
      'invalid_argument: label skep.agent_grace: must be 1000 to 3600000 ms, not 1ms',
    ],
    [
      { annotations: { name: 'default', labels: { 'skep.reschedule_after': 'soon' } } },
      'invalid_argument: label skep.reschedule_after: soon is not a duration such as 60s',
    ],
    [
      { annotations: { name: 'default', labels: { 'skep.agentgrace': '5s' } } },
      'invalid_argument: unknown label skep.agentgrace: keys starting with skep. are reserved ' +
        '(skep.agent_grace, skep.fence_after, skep.reschedule_after, skep.drain, skep.dns_ttl, skep.data_path.family, skep.container.allow)',
    ],
    [
      { annotations: { name: 'default', labels: { 'skep.data_path.family': 'ipv6' } } },
      'invalid_argument: label skep.data_path.family is set when the swarm is founded',
    ],
    [
      { annotations: { name: 'default', labels: { 'skep.agent': 'x' } } },
      'invalid_argument: label skep.agent cannot be set on a cluster',
    ],
  ];
  for (const [parts, text] of cases) {
    const init = { annotations: { name: 'default' }, ...parts };
    const spec = create(ClusterSpecSchema, init as MessageInitShape<typeof ClusterSpecSchema>);
    const refusal = await refusalOf(() => control.updateCluster(version(cluster), spec, none));
    t.equal(refusal, text);
  }
  const spec = create(ClusterSpecSchema, {
    annotations: { name: 'default', labels: { 'skep.agent_grace': '30s' } },
  });
  const rotated = await control.updateCluster(version(cluster), spec, {
    ...none,
    workerJoinToken: true,
  });
  t.match(rotated.rootCa?.joinTokens?.worker ?? '', /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  t.equal(rotated.rootCa?.joinTokens?.manager, 'SWMTKN-1-m');
  t.equal(
    await refusalOf(() => control.updateCluster(version(cluster), spec, none)),
    'unknown: update out of sequence',
  );
});

void t.test('the family of the data path outlives an update that does not name it', async (t) => {
  const { control, store } = await testControl();
  const label = 'skep.data_path.family';
  await store.update((write) => {
    const [cluster] = write.find('cluster', { by: 'all' });
    const copy = clone(ClusterSchema, cluster ?? create(ClusterSchema));
    copy.spec ??= create(ClusterSpecSchema);
    copy.spec.annotations = create(AnnotationsSchema, {
      name: 'default',
      labels: { [label]: 'ipv6' },
    });
    write.update('cluster', copy);
  });
  const none = { workerJoinToken: false, managerJoinToken: false, managerUnlockKey: false };
  const spec = create(ClusterSpecSchema, { annotations: { name: 'default' } });
  const updated = await control.updateCluster(version(control.getCluster()), spec, none);
  t.equal(updated.spec?.annotations?.labels[label], 'ipv6');
});

void t.test(
  'secrets: bounds, names, labels only, never given out, not removed in use',
  async (t) => {
    const { control } = await testControl();
    const spec = (name: string, bytes: number): Parameters<typeof control.createSecret>[0] =>
      create(SecretSpecSchema, { annotations: { name }, data: new Uint8Array(bytes).fill(7) });
    const size = 'secret data must be larger than 0 and less than 512000 bytes';
    t.equal(await refusalOf(() => control.createSecret(spec('s', 0))), `invalid_argument: ${size}`);
    t.equal(
      await refusalOf(() => control.createSecret(spec('s', 512_000))),
      `invalid_argument: ${size}`,
    );
    t.equal(
      await refusalOf(() => control.createSecret(spec('', 1))),
      'invalid_argument: name must be provided',
    );
    t.equal(
      await refusalOf(() => control.createSecret(spec('-s', 1))),
      'invalid_argument: invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, ' +
        'and the start and end character must be [a-zA-Z0-9]',
    );
    const secret = await control.createSecret(spec('s', 511_999));
    t.equal(secret.spec?.data.length, 0);
    t.equal(control.listSecrets()[0]?.spec?.data.length, 0);
    t.equal(
      await refusalOf(() => control.createSecret(spec('s', 1))),
      'already_exists: secret s already exists',
    );
    const labels = 'invalid_argument: only updates to Labels are allowed';
    t.equal(
      await refusalOf(() => control.updateSecret(secret.id, version(secret), spec('s', 5))),
      labels,
    );
    t.equal(
      await refusalOf(() => control.updateSecret(secret.id, version(secret), spec('x', 0))),
      labels,
    );
    const labelled = create(SecretSpecSchema, { annotations: { name: 's', labels: { a: 'b' } } });
    const updated = await control.updateSecret(secret.id, version(secret), labelled);
    t.same(updated.spec?.annotations?.labels, { a: 'b' });
    const user = serviceSpec('web', {
      task: {
        runtime: {
          case: 'container',
          value: {
            image: 'web',
            secrets: [
              {
                secretId: secret.id,
                secretName: 's',
                target: { case: 'file', value: { name: 's' } },
              },
            ],
          },
        },
      },
    });
    const service = await control.createService(user);
    t.equal(
      await refusalOf(() => control.removeSecret(secret.id)),
      "invalid_argument: secret 's' is in use by the following service: web",
    );
    await control.removeService(service.id);
    await control.removeSecret(secret.id);
    t.same(control.listSecrets(), []);
  },
);

void t.test('configs: bounds, data given out, labels only', async (t) => {
  const { control } = await testControl();
  const spec = (bytes: number): Parameters<typeof control.createConfig>[0] =>
    create(ConfigSpecSchema, { annotations: { name: 'c' }, data: new Uint8Array(bytes).fill(1) });
  t.equal(
    await refusalOf(() => control.createConfig(spec(1_024_000))),
    'invalid_argument: config data must be larger than 0 and less than 1024000 bytes',
  );
  const config = await control.createConfig(spec(10));
  t.equal(config.spec?.data.length, 10);
  await control.updateConfig(config.id, version(config), spec(10));
  t.equal(
    await refusalOf(() => control.updateConfig(config.id, version(config), spec(11))),
    'invalid_argument: only updates to Labels are allowed',
  );
  await control.removeConfig(config.id);
  t.equal(
    await refusalOf(() => control.getConfig(config.id)),
    `not_found: config ${config.id} not found`,
  );
});
