/** From a task to the engine's create body, as tables; no engine involved. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import {
  containerBody,
  engineBoundPorts,
  predefinedNetwork,
} from '../../src/agent/container-config.js';
import { checkMount, engineMount } from '../../src/agent/mounts.js';
import {
  discreteResource,
  namedResource,
  parseGenericResources,
} from '../../src/model/generic-resources.js';
import { describeNode } from '../../src/agent/node-description.js';
import { runsSkepd } from '../../src/model/agent-kind.js';
import { NetworkSchema, NodeSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  MountSchema,
  Mount_Type as MountType,
  PortConfig_PublishMode as PublishMode,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { containerTask } from './support/tasks.js';

const NETWORKING = {
  endpoints: [
    { engineNetworkName: 'a', engineNetworkId: 'ida', address: '10.0.1.3' },
    { engineNetworkName: 'b', engineNetworkId: 'idb', address: '10.0.2.3' },
  ],
  dnsServers: ['10.0.1.1'],
};

void t.test('what a spec does not say is left to engine and image', async (t) => {
  const task = containerTask({}, { nodeId: 'n' });
  const body = containerBody(task, undefined);
  for (const key of ['Hostname', 'Entrypoint', 'Cmd', 'User', 'WorkingDir', 'Healthcheck']) {
    t.notOk(Object.hasOwn(body, key), key);
  }
  t.notOk(Object.hasOwn(body.HostConfig ?? {}, 'Init'));
  t.notOk(Object.hasOwn(body.HostConfig ?? {}, 'NetworkMode'));
});

void t.test('process, health and limits', async (t) => {
  const task = containerTask(
    {
      command: ['/bin/sh', '-c'],
      args: ['x'],
      healthcheck: { test: ['CMD', 'x'], interval: { seconds: 1n, nanos: 5 }, retries: 3 },
      pidsLimit: 100n,
      init: false,
      groups: ['1', '2'],
      capabilityAdd: ['CAP_NET_ADMIN'],
      privileges: { noNewPrivileges: true, seccomp: { mode: 1 } },
    },
    {},
  );
  const body = containerBody(task, undefined);
  t.match(body, {
    Entrypoint: ['/bin/sh', '-c'],
    Cmd: ['x'],
    Healthcheck: { Test: ['CMD', 'x'], Interval: 1_000_000_005, Retries: 3 },
    HostConfig: {
      PidsLimit: 100,
      Init: false,
      GroupAdd: ['1', '2'],
      CapAdd: ['CAP_NET_ADMIN'],
      SecurityOpt: ['seccomp=unconfined', 'no-new-privileges=true'],
    },
  });
});

void t.test('settings by label', async (t) => {
  const labels = { 'skep.container.privileged': 'true', 'skep.container.shm-size': '1m' };
  const task = containerTask(
    { labels, privileges: { noNewPrivileges: true }, oomScoreAdj: 5n },
    {
      serviceAnnotations: {
        name: 'web',
        labels: {
          'skep.container.shm-size': '2m',
          'skep.container.pid': 'host',
          'skep.container.security-opt': 'seccomp=unconfined',
          'skep.container.oom-score-adj': '7',
        },
      },
    },
  );
  t.match(containerBody(task, undefined).HostConfig, {
    Privileged: true,
    ShmSize: 1024 ** 2,
    PidMode: 'host',
    OomScoreAdj: 7,
    SecurityOpt: ['no-new-privileges=true', 'seccomp=unconfined'],
  });
});

void t.test('labels of the swarm cannot be overridden', async (t) => {
  const labels = { 'com.docker.swarm.task.id': 'forged', own: '1' };
  const task = containerTask({ labels });
  const body = containerBody(task, undefined);
  t.match(body.Labels, { 'com.docker.swarm.task.id': task.id, own: '1' });
});

void t.test('the first network at creation, our resolver before the user’s', async (t) => {
  const task = containerTask({ dnsConfig: { nameservers: ['9.9.9.9'] } });
  const body = containerBody(task, NETWORKING);
  t.equal(body.HostConfig?.NetworkMode, 'a');
  t.same(body.HostConfig?.Dns, ['10.0.1.1', '9.9.9.9']);
  t.same(body.NetworkingConfig?.EndpointsConfig, {
    a: { IPAMConfig: { IPv4Address: '10.0.1.3' } },
  });
});

void t.test(
  'the engine’s own networks, and ports it binds only without a swarm network',
  async (t) => {
    const host = create(NetworkSchema, {
      spec: { annotations: { name: 'host', labels: { 'com.docker.swarm.predefined': 'true' } } },
    });
    const overlay = create(NetworkSchema, {
      spec: { annotations: { name: 'over' }, driverConfig: { name: 'overlay' } },
    });
    t.equal(predefinedNetwork(host), 'host');
    t.equal(predefinedNetwork(overlay), undefined);
    const ports = [
      { targetPort: 80, publishedPort: 8080, publishMode: PublishMode.HOST },
      { targetPort: 81, publishedPort: 8081, publishMode: PublishMode.INGRESS },
    ];
    const onHost = containerTask({}, { networks: [{ network: host }], endpoint: { ports } });
    t.equal(containerBody(onHost, undefined).HostConfig?.NetworkMode, 'host');
    t.same(
      engineBoundPorts(onHost).map((port) => port.publishedPort),
      [8080],
    );
    t.same(containerBody(onHost, undefined).HostConfig?.PortBindings, {
      '80/tcp': [{ HostPort: '8080' }],
    });
    const onOverlay = containerTask({}, { networks: [{ network: overlay }], endpoint: { ports } });
    t.same(engineBoundPorts(onOverlay), []);
    t.notOk(Object.hasOwn(containerBody(onOverlay, NETWORKING).HostConfig ?? {}, 'PortBindings'));
  },
);

void t.test('mounts: checks and conversion', async (t) => {
  const refusals: readonly (readonly [object, string])[] = [
    [{ target: 'x' }, 'invalid mount target, must be an absolute path: x'],
    [
      { type: MountType.BIND, source: 'y', target: '/x' },
      'invalid bind mount source, must be an absolute path: y',
    ],
    [
      { type: MountType.VOLUME, source: '/y', target: '/x' },
      'invalid volume mount source, must not be an absolute path: /y',
    ],
    [
      { type: MountType.TMPFS, source: 'y', target: '/x' },
      'invalid tmpfs source, source must be empty',
    ],
    [{ type: MountType.NPIPE, source: 'y', target: '/x' }, 'invalid mount type: NPIPE'],
  ];
  for (const [mount, message] of refusals) {
    t.throws(() => checkMount(create(MountSchema, mount)), { message });
  }
  const volume = create(MountSchema, {
    type: MountType.VOLUME,
    source: 'data',
    target: '/x',
    volumeOptions: { nocopy: true, driverConfig: { name: 'local', options: { o: 'v' } } },
  });
  t.match(engineMount(volume), {
    Type: 'volume',
    Source: 'data',
    Target: '/x',
    VolumeOptions: { NoCopy: true, DriverConfig: { Name: 'local', Options: { o: 'v' } } },
  });
});

const OWN = { version: '1', tlsInfo: undefined, genericResources: [] };

void t.test('a description survives any answer of the engine', async (t) => {
  const strange = { Name: 5, NCPU: 'x', Labels: [null, '=x', 'a=b=c'], Plugins: { Network: 'x' } };
  const description = describeNode(strange, OWN);
  t.equal(description.hostname, '');
  t.equal(description.resources?.nanoCpus, 0n);
  t.same(description.engine?.labels, { a: 'b=c', 'skep.agent': '1' });
  t.same(
    description.engine?.plugins.map((plugin) => plugin.name),
    ['skepd', 'overlay', 'local'],
  );
  t.ok(runsSkepd(create(NodeSchema, { description })), 'managers know it as one of ours');
  const used = { Plugins: { Network: ['bridge', 'skep', 'overlay'], Volume: ['local'] } };
  t.same(
    describeNode(used, OWN).engine?.plugins.map((plugin) => plugin.name),
    ['skepd', 'bridge', 'overlay', 'local'],
    'our own driver is not told: its first use would change the node',
  );
});

void t.test('generic resources: of the flags, else of the engine; a task sees its own', (t) => {
  const info = {
    GenericResources: [
      { NamedResourceSpec: { Kind: 'gpu', Value: 'a' } },
      { DiscreteResourceSpec: { Kind: 'ssd', Value: 3 } },
      null,
      { NamedResourceSpec: 5 },
    ],
  };
  const described = (terms: readonly string[]) =>
    describeNode(info, { ...OWN, genericResources: parseGenericResources(terms) }).resources
      ?.generic;
  const engines = [namedResource('gpu', 'a'), discreteResource('ssd', 3n)];
  t.same(described([]), engines);
  t.same(described(['fpga=1']), [discreteResource('fpga', 1n)]);
  const assignedGenericResources = [
    namedResource('gpu', 'a'),
    namedResource('gpu', 'b'),
    discreteResource('ssd', 2n),
  ];
  const task = { ...containerTask({ env: ['A=b'] }), assignedGenericResources };
  t.same(containerBody(task, undefined).Env, [
    'A=b',
    'DOCKER_RESOURCE_GPU=a,b',
    'DOCKER_RESOURCE_SSD=2',
  ]);
  t.end();
});
