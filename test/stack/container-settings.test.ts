/** Keys of compose files that become labels `skep.container.…`, within what the swarm allows. */
import t from 'tap';
import { containerHostConfig } from '../../src/model/container-settings.js';
import { type ContainerKeys, containerLabels } from '../../src/stack/container-settings.js';
import { load, projectOf, specWith } from './support.js';

const ALL = { 'skep.container.allow': 'all' };

async function keysOf(yaml: string): Promise<ContainerKeys> {
  const project = await projectOf({ 'compose.yml': `services: {a: {image: i, ${yaml}}}` });
  return project.services.get('a') ?? {};
}

/** What the engine is told in the end. */
async function hostConfigOf(yaml: string): Promise<object> {
  const { labels, warnings } = containerLabels(await keysOf(yaml), ALL);
  t.strictSame(warnings, [], yaml);
  return containerHostConfig(labels, undefined);
}

void t.test('each key reaches the engine as docker run would have it', async (t) => {
  for (const [yaml, expected] of [
    ['privileged: true', { Privileged: true }],
    ['privileged: false', {}],
    [
      'devices: ["/dev/fuse", {source: /dev/sda, target: /dev/x, permissions: r}]',
      {
        Devices: [
          { PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rwm' },
          { PathOnHost: '/dev/sda', PathInContainer: '/dev/x', CgroupPermissions: 'r' },
        ],
      },
    ],
    ['device_cgroup_rules: ["c 189:* rmw"]', { DeviceCgroupRules: ['c 189:* rmw'] }],
    ['shm_size: 64m', { ShmSize: 64 << 20 }],
    [
      'security_opt: ["no-new-privileges:true", "seccomp:unconfined"]',
      { SecurityOpt: ['no-new-privileges=true', 'seccomp=unconfined'] },
    ],
    [
      'pid: host, ipc: shareable, uts: host',
      { PidMode: 'host', IpcMode: 'shareable', UTSMode: 'host' },
    ],
    ['userns_mode: host, cgroup: private', { UsernsMode: 'host', CgroupnsMode: 'private' }],
    ['cgroup_parent: m-x.slice, cpuset: "0,1"', { CgroupParent: 'm-x.slice', CpusetCpus: '0,1' }],
    ['oom_score_adj: -500, runtime: runsc', { OomScoreAdj: -500, Runtime: 'runsc' }],
  ] as const)
    t.strictSame(await hostConfigOf(yaml), expected, yaml);
});

void t.test('GPUs, as a key and as a reservation', async (t) => {
  const request = { Driver: '', Count: -1, DeviceIDs: null, Capabilities: [['gpu']], Options: {} };
  const reserved = (entry: string) => `deploy: {resources: {reservations: {devices: [${entry}]}}}`;
  for (const [yaml, expected] of [
    ['gpus: all', request],
    ['gpus: [{driver: nvidia, count: 2}]', { ...request, Driver: 'nvidia', Count: 2 }],
    [reserved('{capabilities: [gpu]}'), request],
    [
      reserved('{driver: nvidia, device_ids: ["0", "3"], capabilities: [gpu, utility]}'),
      {
        ...request,
        ...{ Driver: 'nvidia', Count: 0, DeviceIDs: ['0', '3'] },
        Capabilities: [['utility', 'gpu']],
      },
    ],
  ] as const)
    t.strictSame(await hostConfigOf(yaml), { DeviceRequests: [expected] }, yaml);
});

void t.test(
  'what the swarm does not allow, or nobody can, is ignored with a warning',
  async (t) => {
    const keys = await keysOf('privileged: true, shm_size: 1m, pid: "service:b"');
    t.strictSame(containerLabels(keys, { 'skep.container.allow': 'shm-size,pid' }), {
      labels: { 'skep.container.shm-size': `${1 << 20}` },
      warnings: [
        'privileged: ignored, skep.container.allow of the swarm does not name privileged',
        'pid: "service:b" cannot be had in a swarm, ignored',
      ],
    });
    t.strictSame(containerLabels(keys, {}).labels, {}, 'the policy is closed');
    const two = await keysOf('gpus: [{driver: a}, {driver: b}]');
    t.match(containerLabels(two, ALL), { labels: {}, warnings: [/^gpus: .*cannot be had/] });
    t.strictSame(
      (await load({ 'compose.yml': 'services: {a: {image: i, gpus: all}}' })).warnings,
      [],
    );
  },
);

void t.test('labels of the file go before keys', async (t) => {
  const keys = 'shm_size: 1m\ndeploy: {labels: {skep.container.shm-size: 2m}}';
  t.match(await specWith(keys, '', 'image: i', ALL), {
    Labels: { 'skep.container.shm-size': '2m' },
  });
  t.notMatch((await specWith('shm_size: 1m')).Labels, { 'skep.container.shm-size': /./ });
});
