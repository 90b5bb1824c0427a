/** Settings of containers by label: what each value sets, what is refused, and the cluster's policy. */
import t from 'tap';
import {
  CONTAINER_ALLOW_LABEL,
  CONTAINER_SETTINGS,
  containerHostConfig,
  containerSettingLabel,
  containerSettingsText,
  forbiddenSetting,
  readContainerSetting,
  reservedKinds,
  withContainerSettings,
} from '../../src/model/container-settings.js';
import { checkLabels } from '../../src/model/labels/check.js';

const device = (host: string, inside: string, permissions: string) => ({
  PathOnHost: host,
  PathInContainer: inside,
  CgroupPermissions: permissions,
});

const gpus = (request: object) => ({
  DeviceRequests: [
    { Driver: '', Count: 0, DeviceIDs: null, Capabilities: [['gpu']], Options: {}, ...request },
  ],
});

/** As `docker run` of 20.10 sends them. */
const read: readonly (readonly [string, string, object])[] = [
  ['privileged', 'true', { Privileged: true }],
  ['privileged', 'false', { Privileged: false }],
  ['devices', '/dev/fuse', { Devices: [device('/dev/fuse', '/dev/fuse', 'rwm')] }],
  [
    'devices',
    '/dev/sda:/dev/xvdc:r, /dev/snd:rw,/dev/a:/dev/b',
    {
      Devices: [
        device('/dev/sda', '/dev/xvdc', 'r'),
        device('/dev/snd', '/dev/snd', 'rw'),
        device('/dev/a', '/dev/b', 'rwm'),
      ],
    },
  ],
  ['device-cgroup-rule', 'c 189:* rmw,b *:* r', { DeviceCgroupRules: ['c 189:* rmw', 'b *:* r'] }],
  ['gpus', 'all', gpus({ Count: -1 })],
  ['gpus', '2', gpus({ Count: 2 })],
  ['gpus', 'count=all,driver=nvidia', gpus({ Count: -1, Driver: 'nvidia' })],
  ['gpus', 'driver=nvidia', gpus({ Count: 1, Driver: 'nvidia' })],
  ['gpus', 'device=GPU-1', gpus({ DeviceIDs: ['GPU-1'] })],
  ['gpus', '"device=0,2"', gpus({ DeviceIDs: ['0', '2'] })],
  [
    'gpus',
    'all,"capabilities=compute,utility","options=a=1,b"',
    gpus({
      Count: -1,
      Capabilities: [['compute', 'utility', 'gpu']],
      Options: { a: '1', b: '' },
    }),
  ],
  ['shm-size', '64m', { ShmSize: 64 * 1024 ** 2 }],
  ['shm-size', '2GiB', { ShmSize: 2 * 1024 ** 3 }],
  ['shm-size', '4096', { ShmSize: 4096 }],
  [
    'tmpfs',
    '/run:rw,exec,size=64m,uid=1000;/tmp',
    { Tmpfs: { '/run': 'rw,exec,size=64m,uid=1000', '/tmp': '' } },
  ],
  [
    'security-opt',
    'seccomp=unconfined,no-new-privileges,label=type:x_t',
    { SecurityOpt: ['seccomp=unconfined', 'no-new-privileges', 'label=type:x_t'] },
  ],
  [
    'security-opt',
    'apparmor=mine,systempaths=unconfined',
    { SecurityOpt: ['apparmor=mine'], MaskedPaths: [], ReadonlyPaths: [] },
  ],
  ['pid', 'host', { PidMode: 'host' }],
  ['ipc', 'shareable', { IpcMode: 'shareable' }],
  ['uts', 'host', { UTSMode: 'host' }],
  ['userns', 'host', { UsernsMode: 'host' }],
  ['cgroupns', 'private', { CgroupnsMode: 'private' }],
  ['cgroup-parent', '/batch', { CgroupParent: '/batch' }],
  ['cpuset-cpus', '0-3,8', { CpusetCpus: '0-3,8' }],
  ['cpuset-mems', '0', { CpusetMems: '0' }],
  ['oom-score-adj', '-500', { OomScoreAdj: -500 }],
  ['runtime', 'runsc', { Runtime: 'runsc' }],
];

void t.test('each setting sets what the flag of docker run does', async (t) => {
  for (const [name, value, part] of read) {
    const labels = { [`skep.container.${name}`]: value };
    t.same(containerHostConfig({}, labels), part, `${name}=${value}`);
    t.doesNotThrow(() => checkLabels('service', labels), `${name}=${value}`);
  }
  const seen = new Set(read.map(([name]) => name));
  for (const { name } of CONTAINER_SETTINGS) t.ok(seen.has(name), `${name} is tried`);
});

const refused: readonly (readonly [string, ...string[]])[] = [
  ['privileged', '', '1', 'yes'],
  ['devices', '', 'dev/x', '/dev/x:/dev/y:/dev/z:r', '/dev/x:y', '/dev/x:/dev/y:rx', '/dev/x:rr,'],
  ['device-cgroup-rule', 'x 1:1 r', 'c 1 r', 'c 1:1 rr'],
  ['gpus', '', 'some', 'all,all', 'all,device=0', 'device=0,1', 'speed=1', '"device=0', '-1'],
  ['shm-size', '0', 'x', '-1', '1.5x', '999999999999999t'],
  ['tmpfs', 'tmp', '/a;/a', '/a:b:c', '/a:x y', ''],
  ['security-opt', '', 'seccomp={}', 'unconfined', 'label=x', 'no-new-privileges=maybe'],
  ['pid', 'container:x', ''],
  ['ipc', 'container:x', ''],
  ['uts', 'private'],
  ['userns', 'private'],
  ['cgroupns', ''],
  ['cgroup-parent', '', 'a b'],
  ['cpuset-cpus', '', 'a', '0-', '0,,1'],
  ['cpuset-mems', '-1'],
  ['oom-score-adj', '1001', '-1001', 'x', ''],
  ['runtime', '', '/bin/sh', 'a b'],
];

void t.test('members of named resources', async (t) => {
  const members = (kind: string) =>
    ({ tty: ['/dev/ttyUSB1', '/dev/ttyUSB4'], gpu: ['GPU-7'] })[kind] ?? [];
  const labels = {
    'skep.container.devices': '/dev/fuse, reserved:tty',
    'skep.container.gpus': 'reserved:gpu',
  };
  t.same(containerHostConfig(labels, {}, members), {
    Devices: ['/dev/fuse', '/dev/ttyUSB1', '/dev/ttyUSB4'].map((path) => device(path, path, 'rwm')),
    ...gpus({ DeviceIDs: ['GPU-7'] }),
  });
  t.doesNotThrow(() => checkLabels('service', labels));
  t.same(reservedKinds(labels, {}), [
    ['skep.container.gpus', 'gpu'],
    ['skep.container.devices', 'tty'],
  ]);
  t.throws(() => containerHostConfig(labels, {}, () => []), {
    message: 'label skep.container.devices: the task has no named resource tty',
  });
  t.throws(() => checkLabels('service', { 'skep.container.gpus': 'all,reserved:gpu' }));
});

void t.test('values that are none are refused by name', async (t) => {
  for (const [name, ...values] of refused) {
    const label = `skep.container.${name}`;
    for (const value of values) {
      t.throws(() => checkLabels('container', { [label]: value }), {
        code: 'invalid_argument',
        message: new RegExp(`^label ${label}: must be `),
      });
    }
  }
  for (const setting of CONTAINER_SETTINGS) {
    t.equal(readContainerSetting(setting, '0,'.repeat(3000)), undefined, setting.name);
  }
});

void t.test('the container’s own label goes before the service’s', async (t) => {
  const service = { 'skep.container.pid': 'host', 'skep.container.shm-size': '1m' };
  const container = { 'skep.container.shm-size': '2m', 'com.example': 'x' };
  t.same(containerHostConfig(service, container), { PidMode: 'host', ShmSize: 2 * 1024 ** 2 });
  t.same(containerHostConfig(undefined, undefined), {});
  t.equal(containerSettingsText({ 'skep.container.engine_socket': 'true' }, undefined), '');
  t.equal(
    containerSettingsText({ 'skep.container.pid': 'host' }, {}),
    containerSettingsText({}, { 'skep.container.pid': 'host' }),
  );
});

void t.test('labels with the settings of others', async (t) => {
  const mixed = withContainerSettings(
    { 'skep.container.pid': 'host', a: '1' },
    { 'skep.container.ipc': 'host', a: '2' },
  );
  t.same(mixed, { 'skep.container.ipc': 'host', a: '1' });
});

void t.test('nothing is allowed that the cluster does not name', async (t) => {
  const allow = (value: string) => ({ [CONTAINER_ALLOW_LABEL]: value });
  const wanted = [
    { 'skep.container.privileged': 'true' },
    { 'skep.container.pid': 'host' },
  ] as const;
  t.equal(forbiddenSetting(undefined, wanted), 'skep.container.privileged');
  t.equal(forbiddenSetting({}, wanted), 'skep.container.privileged');
  t.equal(forbiddenSetting(allow('pid'), wanted), 'skep.container.privileged');
  t.equal(forbiddenSetting(allow('nonsense'), wanted), 'skep.container.privileged');
  t.equal(forbiddenSetting(allow('privileged'), wanted), 'skep.container.pid');
  t.equal(forbiddenSetting(allow('pid, privileged'), wanted), undefined);
  t.equal(forbiddenSetting(allow('all'), wanted), undefined);
  t.equal(forbiddenSetting({}, [{ 'skep.container.engine_socket': 'true' }, {}]), undefined);
  t.equal(forbiddenSetting({}, wanted, wanted), undefined, 'what was there may stay');
  t.equal(
    forbiddenSetting({}, wanted, [{}, { 'skep.container.pid': 'host' }]),
    'skep.container.privileged',
  );
  for (const value of ['', 'x', 'pid,', 'engine_socket'])
    t.throws(() => checkLabels('cluster', allow(value)), { code: 'invalid_argument' });
  for (const setting of CONTAINER_SETTINGS) {
    t.throws(() => checkLabels('cluster', { [containerSettingLabel(setting)]: 'true' }));
  }
});
