/** Services of the Control API: every refusal with its exact text, updates, rollbacks. */
import { clone, create, type MessageInitShape } from '@bufbuild/protobuf';
import t from 'tap';
import { LABELS } from '../../../src/model/labels/table.js';
import { namedResource } from '../../../src/model/generic-resources.js';
import {
  EndpointSchema,
  ServiceSchema,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  ClusterSpecSchema,
  NodeSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
  EndpointSpec_ResolutionMode as ResolutionMode,
} from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeRole,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
  TaskState,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { networkSpec, refusalOf, serviceSpec, testControl, testNode } from './support.js';

const NO_ROTATION = {
  workerJoinToken: false,
  managerJoinToken: false,
  managerUnlockKey: false,
} as const;

type Parts = MessageInitShape<typeof ServiceSpecSchema>;

function container(value: object): Parts {
  return {
    task: { runtime: { case: 'container', value: { image: 'web:1', ...value } } },
  };
}

function task(parts: object): Parts {
  return { task: { ...container({}).task, ...parts } };
}

/** Keys that a service, and a container, may have. */
const [SERVICE_LABELS, CONTAINER_LABELS] = (['service', 'container'] as const).map((object) =>
  LABELS.filter(({ objects }) => objects.includes(object)).map(({ key }) => key),
) as [string[], string[]];

const negative = { seconds: -1n };

const REFUSALS: readonly (readonly [string, Parts, string])[] = [
  ['empty name', { annotations: { name: '' } }, 'meta: name must be provided'],
  ['bad name', { annotations: { name: 'a.b' } }, 'name must be valid as a DNS name component'],
  ['long name', { annotations: { name: 'a'.repeat(64) } }, 'name must be 63 characters or fewer'],
  [
    'name that backtracks',
    { annotations: { name: `${'a-'.repeat(30)}.` } },
    'name must be valid as a DNS name component',
  ],
  ['no runtime', { task: {} }, 'TaskSpec: missing runtime'],
  ['no image', container({ image: '' }), 'ContainerSpec: image reference must be provided'],
  [
    'bad image',
    container({ image: 'Bad Image' }),
    'ContainerSpec: "Bad Image" is not a valid repository/tag',
  ],
  [
    'two mounts at one place',
    container({ mounts: [{ target: '/a' }, { target: '/a' }] }),
    'ContainerSpec: duplicate mount point: /a',
  ],
  [
    'short interval',
    container({ healthcheck: { interval: { nanos: 1000 } } }),
    'ContainerSpec: Interval in HealthConfig cannot be less than 1ms',
  ],
  [
    'negative retries',
    container({ healthcheck: { retries: -1 } }),
    'ContainerSpec: Retries in HealthConfig cannot be negative',
  ],
  [
    'little cpu',
    task({ resources: { limits: { nanoCpus: 500n } } }),
    'invalid cpu value 5e-07: Must be at least 0.001',
  ],
  [
    'negative cpu',
    task({ resources: { reservations: { nanoCpus: -1_000_000_000n } } }),
    'invalid cpu value -1: Must be at least 0.001',
  ],
  [
    'little memory',
    task({ resources: { limits: { memoryBytes: 1024n } } }),
    'invalid memory value 1024: Must be at least 4MiB',
  ],
  [
    'a named resource',
    task({ resources: { reservations: { generic: [namedResource('gpu', 'a')] } } }),
    'invalid argument for resource gpu',
  ],
  [
    'a schedule without a job',
    { annotations: { name: 'web', labels: { 'skep.cron': '* * * * *' } } },
    'label skep.cron is for jobs: --mode replicated-job or global-job',
  ],
  [
    'negative delay',
    task({ restart: { delay: negative } }),
    'TaskSpec: restart-delay cannot be negative',
  ],
  [
    'negative window',
    task({ restart: { window: negative } }),
    'TaskSpec: restart-window cannot be negative',
  ],
  [
    'negative update delay',
    { update: { delay: negative } },
    'TaskSpec: update-delay cannot be negative',
  ],
  [
    'negative monitor',
    { update: { monitor: negative } },
    'TaskSpec: update-monitor cannot be negative',
  ],
  [
    'ratio above 1',
    { update: { maxFailureRatio: 1.5 } },
    'TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1',
  ],
  [
    'ratio that is no number',
    { update: { maxFailureRatio: Number.NaN } },
    'TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1',
  ],
  ['no mode', { mode: { case: undefined } }, 'Unrecognized service mode'],
  [
    'negative replicas',
    { mode: { case: 'replicated', value: { replicas: 2n ** 63n } } },
    'Number of replicas must be non-negative',
  ],
  [
    'job with update config',
    { mode: { case: 'globalJob', value: {} }, update: {} },
    'Jobs may not have an update config',
  ],
  [
    'ingress port with dnsrr',
    { endpoint: { mode: ResolutionMode.DNSRR, ports: [{ targetPort: 80 }] } },
    "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
  ],
  [
    'one port twice',
    {
      endpoint: {
        ports: [{ publishedPort: 80 }, { publishedPort: 80, publishMode: PublishMode.HOST }],
      },
    },
    'EndpointSpec: duplicate published ports provided',
  ],
  ['secret without id', container({ secrets: [{}] }), 'malformed secret reference'],
  [
    'secret without target',
    container({ secrets: [{ secretId: 'x', secretName: 'x' }] }),
    'malformed secret reference, no target provided',
  ],
  [
    'secret without file name',
    container({
      secrets: [{ secretId: 'x', secretName: 'x', target: { case: 'file', value: {} } }],
    }),
    'malformed file secret reference, invalid target file name provided',
  ],
  [
    'credential spec',
    container({ privileges: { credentialSpec: { source: { case: 'file', value: 'x.json' } } } }),
    'credential specs are for Windows containers; all nodes here run Linux',
  ],
  [
    'template that cannot be filled in',
    container({ hostname: '{{.Node.Nope}}' }),
    'expanding hostname failed: template: expansion:1:7: executing "expansion" at <.Node.Nope>: ' +
      "can't evaluate field Nope in type " +
      'struct { ID string; Hostname string; Platform template.Platform }',
  ],
  [
    'config that is not there',
    container({
      configs: [
        { configId: 'x', configName: 'cx', target: { case: 'file', value: { name: 'f' } } },
      ],
    }),
    'config not found: cx',
  ],
  [
    'secrets that are not there',
    container({
      secrets: ['a', 'b'].map((name) => ({
        secretId: name,
        secretName: name,
        target: { case: 'file', value: { name } },
      })),
    }),
    'secrets not found: a, b',
  ],
  [
    'unknown skep label',
    { annotations: { name: 'web', labels: { 'skep.reshedule_after': '4s' } } },
    'unknown label skep.reshedule_after: keys starting with skep. are reserved ' +
      `(${SERVICE_LABELS.join(', ')})`,
  ],
  [
    'settings of a probe that nobody makes',
    { annotations: { name: 'web', labels: { 'skep.readiness.retries': '4' } } },
    'skep.readiness labels: one of skep.readiness.cmd, skep.readiness.http and skep.readiness.tcp ' +
      'must be set',
  ],
  [
    'unknown skep label of the container',
    container({ labels: { 'skep.container.engine_sock': 'true' } }),
    'unknown label skep.container.engine_sock: keys starting with skep. are reserved ' +
      `(${CONTAINER_LABELS.join(', ')})`,
  ],
  [
    'skep label of the container that is neither true nor false',
    container({ labels: { 'skep.container.engine_socket': 'yes' } }),
    'label skep.container.engine_socket: must be true, false, not yes',
  ],
  [
    'a device that is not reserved',
    container({ labels: { 'skep.container.devices': 'reserved:tty' } }),
    'label skep.container.devices: the service reserves no generic resource tty (--generic-resource tty=1)',
  ],
  [
    'rule of a port that is not published',
    { annotations: { name: 'web', labels: { 'skep.publish.80.allow': '10.0.0.0/8' } } },
    'label skep.publish.80: the service does not publish port 80',
  ],
  [
    'malformed rule',
    { annotations: { name: 'web', labels: { 'skep.publish.80.address': '10.0.0' } } },
    'label skep.publish.80.address: 10.0.0 is neither an address of a host nor an interface name',
  ],
  [
    'label of another object',
    { annotations: { name: 'web', labels: { 'skep.agent_grace': '4s' } } },
    'label skep.agent_grace cannot be set on a service',
  ],
];

void t.test('each invalid spec is refused with its text, and nothing is stored', async (t) => {
  const { control } = await testControl();
  for (const [what, parts, text] of REFUSALS) {
    const spec = serviceSpec('web', parts);
    const refusal = await refusalOf(() => control.createService(spec));
    t.equal(refusal, `invalid_argument: ${text}`, what);
  }
  t.same(control.listServices(), []);
});

void t.test('refusals with other codes', async (t) => {
  const { control } = await testControl();
  const cases: readonly (readonly [Parts, string])[] = [
    [
      task({ placement: { constraints: ['node.role=manager'] } }),
      'unknown: constraint expected one operator from ==, !=',
    ],
    [
      { task: { runtime: { case: 'attachment', value: {} } } },
      'unimplemented: RuntimeSpec: unimplemented runtime in service spec',
    ],
    [
      { endpoint: { ports: [{ targetPort: 80 }] } },
      'failed_precondition: service needs ingress network, but no ingress network is present',
    ],
  ];
  for (const [parts, text] of cases) {
    t.equal(await refusalOf(() => control.createService(serviceSpec('web', parts))), text);
  }
});

void t.test('settings of containers that the cluster does not allow', async (t) => {
  const { control } = await testControl();
  const options = { rollback: 'none' } as const;
  const asking = (labels: Record<string, string>, replicas = 1n, own = {}): ServiceSpec =>
    serviceSpec('web', {
      task: { runtime: { case: 'container', value: { image: 'web:1', labels: own } } },
      annotations: { name: 'web', labels },
      mode: { case: 'replicated', value: { replicas } },
    });
  const allow = async (value: string): Promise<void> => {
    const cluster = control.getCluster();
    const spec = clone(ClusterSpecSchema, cluster.spec ?? create(ClusterSpecSchema));
    if (spec.annotations !== undefined) spec.annotations.labels['skep.container.allow'] = value;
    await control.updateCluster(version(cluster), spec, NO_ROTATION);
  };
  const refusal = (name: string): string =>
    `permission_denied: label skep.container.${name} is not allowed in this swarm: ` +
    `skep.container.allow of the cluster does not name ${name}`;
  const privileged = { 'skep.container.privileged': 'true' };
  const refused = await refusalOf(() => control.createService(asking(privileged)));
  t.equal(refused, refusal('privileged'), 'closed by default');
  t.equal(
    await refusalOf(() => control.createService(asking({}, 1n, privileged))),
    refusal('privileged'),
    'on the container, too',
  );
  await allow('pid');
  t.equal(
    await refusalOf(() => control.createService(asking(privileged))),
    refusal('privileged'),
    'another one is allowed',
  );
  await allow('privileged,shm-size');
  const { id } = await control.createService(asking(privileged));
  const update = async (spec: ServiceSpec): Promise<string> =>
    await refusalOf(() =>
      control.updateService(id, version(control.getService(id)), spec, options),
    );
  const larger = { ...privileged, 'skep.container.shm-size': '1m' };
  t.equal(await update(asking(larger)), 'accepted');
  await allow('privileged');
  t.equal(await update(asking(larger, 0n)), 'accepted', 'scaled with what it has already');
  const changed = { ...privileged, 'skep.container.shm-size': '2m' };
  t.equal(await update(asking(changed)), refusal('shm-size'));
  t.equal(await update(asking(privileged)), 'accepted', 'freed of it');
  t.equal(
    await refusalOf(() =>
      control.updateService(id, version(control.getService(id)), asking(privileged), {
        rollback: 'previous',
      }),
    ),
    refusal('shm-size'),
    'a rollback would bring it back',
  );
});

void t.test('ports of encrypted networks', async (t) => {
  const { control, store } = await testControl();
  const udp = (name: string, publishedPort: number): ServiceSpec =>
    serviceSpec(name, {
      endpoint: { ports: [{ targetPort: 53, publishedPort, protocol: Protocol.UDP }] },
    });
  await control.createNetwork(networkSpec('ingress', { ingress: true }));
  await store.update((write) => write.create('node', testNode('w1', NodeRole.WORKER)));
  for (const port of [7947, 7948])
    t.equal(
      await refusalOf(() => control.createService(udp('names', port))),
      `invalid_argument: port '${port}' is already in use by the swarm itself (encrypted networks)`,
    );
  const { id } = await control.createService(udp('names', 7950));
  const move = async (port: string): Promise<string> => {
    const node = control.getNode('w1');
    const spec = create(NodeSpecSchema, {
      annotations: { labels: { 'skep.encryption.port': port } },
      desiredRole: NodeRole.WORKER,
    });
    return await refusalOf(() => control.updateNode('w1', version(node), spec));
  };
  const taken = (port: number, by: string): string =>
    `invalid_argument: port '${port}' is already in use by ${by}`;
  for (const port of ['7945', '7946'])
    t.equal(await move(port), taken(7946, 'the swarm itself (gossip)'));
  t.equal(await move('4788'), taken(4789, 'the swarm itself (overlay networks)'));
  t.match(await move('30000'), /port '30000' is among those that services without a number/);
  t.equal(await move('7949'), taken(7950, `service 'names' (${id})`));
  const node = control.getNode('w1');
  const spec = create(NodeSpecSchema, {
    annotations: { labels: { 'skep.encryption.port': '7960' } },
    desiredRole: NodeRole.WORKER,
  });
  await control.updateNode('w1', version(node), spec);
  await control.createService(udp('other', 7947));
});

void t.test('numbers that nodes gave to host-mode ports', async (t) => {
  const { control, store } = await testControl();
  await control.createNetwork(networkSpec('ingress', { ingress: true }));
  const spec = (name: string, publishMode: PublishMode, publishedPort: number): ServiceSpec =>
    serviceSpec(name, { endpoint: { ports: [{ targetPort: 80, publishedPort, publishMode }] } });
  const any = await control.createService(spec('any', PublishMode.HOST, 0));
  await store.update((write) => {
    const stored = write.get('service', any.id);
    if (stored === undefined) throw new Error('no service');
    const ports = stored.spec?.endpoint?.ports ?? [];
    write.update('service', { ...stored, endpoint: create(EndpointSchema, { ports }) });
    const given = { targetPort: 80, publishedPort: 40_001, publishMode: PublishMode.HOST };
    write.create(
      'task',
      create(TaskSchema, {
        ...{ id: 't1', serviceId: any.id, nodeId: 'n1' },
        status: { state: TaskState.RUNNING, portStatus: { ports: [given] } },
      }),
    );
  });
  t.equal(
    await refusalOf(() => control.createService(spec('two', PublishMode.INGRESS, 40_001))),
    `invalid_argument: port '40001' is already in use by service 'any' (${any.id}) as a host-published port`,
  );
  await control.createService(spec('two', PublishMode.HOST, 40_001));
});

void t.test('ports held by other services', async (t) => {
  const { control } = await testControl();
  await control.createNetwork(networkSpec('ingress', { ingress: true }));
  const spec = (name: string, mode: PublishMode, port = 80): ServiceSpec =>
    serviceSpec(name, {
      endpoint: { ports: [{ targetPort: 80, publishedPort: port, publishMode: mode }] },
    });
  const web = await control.createService(spec('web', PublishMode.INGRESS));
  const host = await control.createService(spec('host', PublishMode.HOST, 81));
  const refuse = async (wanted: ServiceSpec, text: string): Promise<void> => {
    const refusal = await refusalOf(() => control.createService(wanted));
    t.equal(refusal, `invalid_argument: ${text}`);
  };
  const byWeb = `port '80' is already in use by service 'web' (${web.id}) as an ingress port`;
  await refuse(spec('two', PublishMode.INGRESS), byWeb);
  await refuse(spec('two', PublishMode.HOST), byWeb);
  for (const mode of [PublishMode.INGRESS, PublishMode.HOST]) {
    const text = (port: number, use: string) =>
      `port '${port}' is already in use by the swarm itself (${use})`;
    await refuse(spec('two', mode, 2377), text(2377, 'managers'));
    await refuse(spec('two', mode, 7946), text(7946, 'gossip'));
  }
  await refuse(
    spec('two', PublishMode.INGRESS, 81),
    `port '81' is already in use by service 'host' (${host.id}) as a host-published port`,
  );
  await control.createService(spec('two', PublishMode.HOST, 81));
  const at = (name: string, address: string, port: number): ServiceSpec => {
    const wanted = spec(name, PublishMode.INGRESS, port);
    const labels = { [`skep.publish.${port}.address`]: address };
    return serviceSpec(name, { annotations: { name, labels }, endpoint: wanted.endpoint ?? {} });
  };
  await refuse(at('three', '192.0.2.1', 80), byWeb);
  const first = await control.createService(at('three', '192.0.2.1', 82));
  await control.createService(at('four', '192.0.2.2', 82));
  const byFirst = `port '82' is already in use by service 'three' (${first.id}) as an ingress port`;
  await refuse(at('five', '192.0.2.1', 82), byFirst);
  const alone = await control.createService(at('alone', '192.0.2.1', 83));
  await refuse(
    at('five', 'eth0', 83),
    `port '83' is already in use by service 'alone' (${alone.id}) as an ingress port`,
  );
  await control.updateService(web.id, 0n + version(web), spec('web', PublishMode.INGRESS), {
    rollback: 'none',
  });
});

function version(object: { meta?: { version?: { index: bigint } | undefined } | undefined }) {
  return object.meta?.version?.index ?? 0n;
}

void t.test('a second service of a name is refused with 409', async (t) => {
  const { control } = await testControl();
  await control.createService(serviceSpec('web'));
  t.equal(
    await refusalOf(() => control.createService(serviceSpec('WEB'))),
    'already_exists: name conflicts with an existing object: service WEB already exists',
  );
});

void t.test(
  'update keeps the spec before, resets the status, and demands the version',
  async (t) => {
    const { control, store } = await testControl();
    const web = await control.createService(serviceSpec('web'));
    await store.update((write) => {
      const stored = write.get('service', web.id);
      if (stored === undefined) return;
      const copy = clone(ServiceSchema, stored);
      copy.updateStatus = create(UpdateStatusSchema, { state: UpdateState.PAUSED });
      write.update('service', copy);
    });
    const before = control.getService(web.id);
    const wanted = serviceSpec('web', container({ image: 'web:2' }));
    const options = { rollback: 'none' } as const;
    t.equal(
      await refusalOf(() => control.updateService(web.id, version(web), wanted, options)),
      'unknown: update out of sequence',
    );
    const after = await control.updateService(web.id, version(before), wanted, options);
    t.equal(after.specVersion?.index, version(before));
    t.ok(version(after) > version(before));
    t.equal(after.updateStatus, undefined);
    t.equal(imageOf(after.spec), 'web:2');
    t.equal(imageOf(after.previousSpec), 'skep-test/web:1');
    t.equal(after.previousSpecVersion?.index, web.specVersion?.index);
  },
);

function imageOf(spec: ServiceSpec | undefined): string | undefined {
  return spec?.task?.runtime.case === 'container' ? spec.task.runtime.value.image : undefined;
}

void t.test('rollback swaps the specs; a second one swaps them back', async (t) => {
  const { control } = await testControl();
  const web = await control.createService(serviceSpec('web'));
  const previous = { rollback: 'previous' } as const;
  t.equal(
    await refusalOf(() =>
      control.updateService(web.id, version(web), serviceSpec('web'), previous),
    ),
    `failed_precondition: service ${web.id} does not have a previous spec`,
  );
  const wanted = serviceSpec('web', container({ image: 'web:2' }));
  const second = await control.updateService(web.id, version(web), wanted, { rollback: 'none' });
  const back = await control.updateService(second.id, version(second), wanted, previous);
  t.equal(imageOf(back.spec), 'skep-test/web:1');
  t.equal(back.specVersion?.index, web.specVersion?.index, 'old tasks are clean again');
  t.equal(back.updateStatus?.state, UpdateState.ROLLBACK_STARTED);
  t.equal(back.updateStatus?.message, 'manually requested rollback');
  const forth = await control.updateService(back.id, version(back), wanted, previous);
  t.equal(imageOf(forth.spec), 'web:2');
});

void t.test('what an update may not change', async (t) => {
  const { control } = await testControl();
  const web = await control.createService(serviceSpec('web'));
  const tries: readonly (readonly [ServiceSpec, string])[] = [
    [serviceSpec('other'), 'renaming services is not supported'],
    [
      serviceSpec('web', { mode: { case: 'global', value: {} } }),
      'service mode change is not allowed',
    ],
    [
      serviceSpec('web', { networks: [{ target: 'n' }] }),
      'networks must be migrated to TaskSpec before being changed',
    ],
  ];
  for (const [spec, text] of tries) {
    const refusal = await refusalOf(() =>
      control.updateService(web.id, version(web), spec, { rollback: 'none' }),
    );
    t.equal(refusal, `unimplemented: ${text}`);
  }
});

void t.test('each update of a job runs it again', async (t) => {
  const { control } = await testControl();
  const spec = serviceSpec('job', { mode: { case: 'globalJob', value: {} } });
  const job = await control.createService(spec);
  t.equal(job.jobStatus?.jobIteration?.index, 0n);
  const again = await control.updateService(job.id, version(job), spec, { rollback: 'none' });
  t.equal(again.jobStatus?.jobIteration?.index, 1n);
});

void t.test('services that are not there', async (t) => {
  const { control } = await testControl();
  const text = 'not_found: service nobody not found';
  t.equal(await refusalOf(() => control.getService('nobody')), text);
  t.equal(await refusalOf(() => control.removeService('nobody')), text);
  const update = () =>
    control.updateService('nobody', 1n, serviceSpec('web'), { rollback: 'none' });
  t.equal(await refusalOf(update), text);
});

void t.test('a spec that its owner changes later does not change the store', async (t) => {
  const { control } = await testControl();
  const spec = serviceSpec('web');
  const web = await control.createService(clone(ServiceSpecSchema, spec));
  spec.annotations = create(ServiceSpecSchema, { annotations: { name: 'x' } }).annotations!;
  t.equal(control.getService(web.id).spec?.annotations?.name, 'web');
  await control.removeService(web.id);
  t.same(control.listServices(), []);
});
