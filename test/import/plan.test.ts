/** Plans from what two swarms say, without either: translation, refusals, and input that is hostile. */
import t from 'tap';
import { serviceSpecFields } from '../../src/api/convert/service.js';
import { parseJsonString } from '../../src/api/http/go-json.js';
import { type JsonOut, writeJson } from '../../src/api/http/json-text.js';
import { carryOut } from '../../src/import/carry-out.js';
import { describePlan } from '../../src/import/describe.js';
import { type Choices, isBlocked, makePlan, type Step } from '../../src/import/plan.js';
import { parseSaved, readSwarm, savedText } from '../../src/import/swarm-copy.js';
import { type SwarmView, viewSwarm } from '../../src/import/swarm-view.js';
import { SkepError } from '../../src/model/errors.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';

type Json = Readonly<Record<string, unknown>>;
type Parts = Partial<
  Readonly<Record<'nodes' | 'networks' | 'configs' | 'secrets' | 'services', readonly Json[]>>
> & { readonly swarm?: Json };

const SPEC = { Name: 'default', Labels: {}, Orchestration: { TaskHistoryRetentionLimit: 5 } };

function savedOf(parts: Parts, id = 'old'): string {
  const swarm = { ID: id, Version: { Index: 7 }, Spec: SPEC, DataPathPort: 4789, ...parts.swarm };
  return JSON.stringify({ format: 'skep-import/1', ...parts, swarm });
}

function swarmOf(parts: Parts, id?: string): SwarmView {
  return viewSwarm(parseSaved(savedOf(parts, id)));
}

const object = (ID: string, Spec: Json): Json => ({ ID, Version: { Index: 9 }, Spec });
const task = (more: Json = {}, container: Json = {}): Json => ({
  TaskTemplate: { ContainerSpec: { Image: 'i:1', ...container }, ...more },
});
const service = (Name: string, more: Json = task()): Json =>
  object(`id-${Name}`, { Name, ...more });
const overlay = (Name: string, more: Json = {}): Json => {
  return { Id: `net-${Name}`, Name, Driver: 'overlay', Scope: 'swarm', ...more };
};
const node = (Hostname: string, State: string, Spec: Json = {}, id = Hostname): Json => ({
  ...object(id, { Role: 'worker', Availability: 'active', ...Spec }),
  Description: { Hostname },
  Status: { State },
});
const secretFile = (name: string) => ({
  ...{ SecretID: `id-${name}`, SecretName: name },
  File: { Name: name, UID: '0', GID: '0', Mode: 292 },
});

const NONE: Choices = { values: new Map(), skip: new Set(), hasValue: () => Promise.resolve(true) };

async function plan(there: Parts, here: Parts = {}, choices: Partial<Choices> = {}) {
  const [from, to] = [swarmOf(there), swarmOf(here, 'here')];
  const steps = await makePlan(from, to, { ...NONE, ...choices }, simulatedEnvironment(1));
  return { steps, lines: describePlan(steps).slice(1, -1), here: to };
}

void t.test('what skepd would refuse is said in its words', async (t) => {
  const port = (PublishedPort: number, Protocol: string) => ({
    ...task(),
    EndpointSpec: { Ports: [{ TargetPort: 1, PublishedPort, Protocol }] },
  });
  const mount = { Type: 'cluster', Source: 'c', Target: '/c' };
  const { lines, steps } = await plan(
    {
      networks: [
        overlay('ingress', { Ingress: true }),
        overlay('lan', { Driver: 'macvlan' }),
        overlay('clash', { IPAM: { Config: [{ Subnet: '10.0.0.0/16' }] } }),
      ],
      services: [
        service('gossip', port(7946, 'udp')),
        service('encrypted', port(7947, 'udp')),
        service('taken', port(80, 'tcp')),
        service('csi', task({}, { Mounts: [mount] })),
        service('image', task({}, { Mounts: [{ ...mount, Type: 'image' }] })),
        service('on-lan', task({ Networks: [{ Target: 'net-lan' }] })),
        service('plugin', { TaskTemplate: { Runtime: 'plugin', PluginSpec: {} } }),
        service('by-id', task({ Placement: { Constraints: ['node.id == n1'] } })),
        service('job', { ...task(), Mode: { ReplicatedJob: {} } }),
        service('newer', task({}, { OomScoreAdj: 5, Privileges: { NoNewPrivileges: true } })),
        service('ghost', task({ Networks: [{ Target: 'gone' }] })),
        service('bad', task({}, { Env: 7 })),
      ],
    },
    {
      nodes: [node('h1', 'ready')],
      networks: [
        overlay('ingress', { Ingress: true, IPAM: { Config: [{ Subnet: '10.0.0.0/24' }] } }),
      ],
      services: [service('web', port(80, 'tcp'))],
    },
  );
  t.strictSame(lines, [
    '= network ingress: is there already',
    '    differs here: IPAM.Config[0].Subnet',
    '    differs here: IPAM.Driver',
    'x network lan: error during lookup of plugin macvlan',
    'x network clash: its subnet 10.0.0.0/16 overlaps 10.0.0.0/24 of network ingress here',
    "x service gossip: port '7946' is already in use by the swarm itself (gossip)",
    "x service encrypted: port '7947' is already in use by the swarm itself (encrypted networks)",
    "x service taken: port '80' is already in use by service 'web' (id-web) as an ingress port",
    'x service csi: cluster volumes (CSI) are not supported',
    'x service image: invalid MountType: "image"',
    'x service on-lan: it uses what will not be here: network lan',
    'x service plugin: runtime type "plugin" only supported in experimental',
    '+ service by-id',
    '    a constraint names a node by its id, which is another here: node.id == n1',
    '+ service job',
    '    a job: it runs again here',
    '+ service newer',
    '    not known here, and lost: TaskTemplate.ContainerSpec.OomScoreAdj',
    '    not known here, and lost: TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges',
    'x service ghost: the other swarm does not show network gone',
    'x service bad: json: cannot unmarshal number into Go struct field ContainerSpec.' +
      'TaskTemplate.' +
      'ContainerSpec.Env of type []string',
  ]);
  t.ok(isBlocked(steps));
});

void t.test('networks of a swarm that was left before are not taken', async (t) => {
  const { lines } = await plan({
    networks: [
      overlay('front', { Id: 'new', Created: '2026-02-01T00:00:00Z', Internal: true }),
      overlay('front', { Id: 'stale', Created: '2026-01-01T00:00:00.5Z' }),
      overlay('back', { Created: '2026-01-01T00:00:00Z' }),
    ],
    services: [
      service('a', task({ Networks: [{ Target: 'new' }] })),
      service('b', task({ Networks: [{ Target: 'stale' }] })),
    ],
  });
  t.strictSame(lines, [
    ...['+ network front', '+ network back', '+ service a'],
    'x service b: the other swarm does not show network stale',
  ]);
});

void t.test('secrets: given, missing, left out, there', async (t) => {
  const there: Parts = {
    secrets: [object('id-a', { Name: 'a' }), object('id-b', { Name: 'b' })],
    services: [
      service('one', task({}, { Secrets: [secretFile('a')] })),
      service('two', task({}, { Secrets: [secretFile('a'), secretFile('b')] })),
    ],
  };
  const some = await plan(there, {}, { values: new Map([['a', Buffer.from('x')]]) });
  t.strictSame(some.lines, [
    '+ secret a: from its file',
    '? secret b: its value is needed by two',
    '+ service one',
    '+ service two',
  ]);
  t.ok(isBlocked(some.steps));
  const less = await plan(
    there,
    { secrets: [object('h', { Name: 'a', Labels: { x: 'y' } })] },
    {
      skip: new Set(['secret/b', 'service/one']),
    },
  );
  t.strictSame(less.lines, [
    '= secret a: is there already',
    '    differs here: Labels.x',
    '- secret b: left out, as asked for',
    '- service one: left out, as asked for',
    'x service two: it uses what will not be here: secret b',
  ]);
  const vaulted = { secrets: [object('v', { Name: 'v', Driver: { Name: 'vault' } })] };
  t.strictSame((await plan(vaulted)).lines, ['+ secret v: held by plugin vault']);
  const empty = await plan(there, {}, { values: new Map([['a', new Uint8Array()]]) });
  t.match(empty.lines[0], 'x secret a: secret data must be larger than 0 and less than 512000');
});

void t.test('nodes are known by their hosts', async (t) => {
  const labels = (more: Json, Availability = 'active') => ({ Labels: more, Availability });
  const { lines, steps } = await plan(
    {
      nodes: [
        node('h1', 'ready', { ...labels({ a: '1', b: '2', c: '3' }, 'pause'), Role: 'manager' }),
        node('h2', 'down', labels({ a: '1' }, 'drain')),
        node('h3', 'ready', labels({ a: '1' }), 'x'),
        node('h3', 'down', labels({}), 'y'),
        node('h4', 'ready', labels({}), 'z'),
        node('h4', 'ready', labels({}), 'w'),
        node('h5', 'ready', labels({ 'skep.unknown': '1' })),
      ],
    },
    {
      nodes: [
        node('h1', 'ready', { ...labels({ b: 'other', own: 'x' }), Role: 'manager' }, 'here-1'),
        node('h2', 'ready', labels({}), 'here-2'),
        node('h5', 'ready', labels({}), 'here-5'),
      ],
    },
  );
  t.strictSame(lines, [
    '~ node h1: label a, label c, availability pause',
    '    a manager there; its role is not taken',
    '    differs here: label b',
    '~ node h2: label a',
    '    is down there: whether it was drained before is not known, and not taken',
    '- node h3: is not here yet: import again once it is',
    '- node h3: is down there, and another of its name is up',
    '- node h4: several nodes there have this name',
    '- node h4: several nodes there have this name',
    'x node h5: unknown label skep.unknown: keys starting with skep. are reserved ' +
      '(skep.encryption.port, skep.encryption.rotation)',
  ]);
  const first = steps.find(({ kind }) => kind === 'node')?.outcome;
  t.match(first?.kind === 'change' && first.change.kind === 'node' ? first.change : undefined, {
    ...{ id: 'here-1', version: '9' },
    spec: { annotations: { labels: { a: '1', b: 'other', c: '3', own: 'x' } }, desiredRole: 1 },
  });
});

void t.test('settings are taken where nothing is set here', async (t) => {
  const spec = (more: Json) => ({ Spec: { ...SPEC, ...more } });
  const there = {
    swarm: {
      ...spec({
        Orchestration: { TaskHistoryRetentionLimit: 0 },
        Raft: { SnapshotInterval: 500, KeepOldSnapshots: 2, ElectionTick: 3 },
        CAConfig: {
          NodeCertExpiry: 3_600_000_000_000,
          ExternalCAs: [{ Protocol: 'cfssl', Options: { token: 'hidden' } }],
        },
        TaskDefaults: { LogDriver: { Name: 'syslog' } },
      }),
      DefaultAddrPool: ['10.20.0.0/16'],
      SubnetSize: 26,
    },
  };
  const first = (steps: readonly Step[]) => describePlan(steps.slice(0, 1)).slice(0, -1);
  const { steps } = await plan(there, {
    swarm: spec({ Raft: { SnapshotInterval: 9000 }, CAConfig: { NodeCertExpiry: 7_776e12 } }),
  });
  t.strictSame(first(steps), [
    '~ swarm settings: task history limit 0, certificate expiry 3600 s, old snapshots kept 2',
    '    differs here: snapshot interval',
    '    certificates are issued by an external authority there',
    '    differs here: address pool (10.20.0.0/16, /26 there; set by "swarm init")',
    '    not known here, and lost: TaskDefaults.LogDriver.Name',
  ]);
  const short = await plan(
    { swarm: spec({ CAConfig: { NodeCertExpiry: 1 } }) },
    {
      swarm: spec({ CAConfig: { NodeCertExpiry: 7_776e12 } }),
    },
  );
  t.strictSame(first(short.steps), [
    'x swarm settings: minimum certificate expiry time is: 1h0m0s',
  ]);
  t.notMatch(savedText(parseSaved(savedOf(there))), 'hidden');
});

void t.test('changes are made in order, with ids of here, and told until one fails', async (t) => {
  const there: Parts = {
    networks: [overlay('front'), { ...overlay('host'), Driver: 'host', Labels: PREDEFINED }],
    configs: [object('id-c', { Name: 'c', Data: 'AAEC' })],
    secrets: [object('id-s', { Name: 's' })],
    services: [
      service(
        'web',
        task(
          { Networks: [{ Target: 'net-front' }, { Target: 'net-host' }], ForceUpdate: 4 },
          {
            StopGracePeriod: 0,
            Secrets: [{ ...secretFile('s'), SecretID: 'id-s' }],
            Configs: [{ ConfigID: 'id-c', ConfigName: 'stale', File: { Name: '/c', Mode: 256 } }],
          },
        ),
      ),
      service('last'),
    ],
  };
  const bigger = savedOf(there).replace(
    '"StopGracePeriod":0',
    '"StopGracePeriod":9007199254740993',
  );
  const from = viewSwarm(parseSaved(bigger));
  const here = swarmOf({ networks: [overlay('front', { Id: 'front-here' })] }, 'here');
  const values = new Map([['s', Buffer.from('SECRET')]]);
  const steps = await makePlan(from, here, { ...NONE, values }, simulatedEnvironment(1));
  const posted: string[] = [];
  const told: string[] = [];
  const post = (to: string, body: JsonOut) => {
    posted.push(`${to} ${writeJson(body)}`);
    if (posted.length > 3) throw new SkepError('unavailable', 'gone\u001b[31m');
    return Promise.resolve(parseJsonString(`{"ID":"new-${posted.length}"}`));
  };
  await t.rejects(
    carryOut(steps, here, post, (line) => told.push(line)),
    {
      code: 'unavailable',
      message:
        /^service last: gone\\u\{1b\}\[31m\n3 of 4 changes are made, and stay; the same command/,
    },
  );
  t.strictSame(told, ['made config c', 'made secret s', 'made service web']);
  t.match(posted[1], '/secrets/create {"Name":"s","Labels":{},"Data":"U0VDUkVU"}');
  const [, web = ''] = posted[2]?.split('/services/create ') ?? [];
  t.match(web, '"StopGracePeriod":9007199254740993');
  t.match(JSON.parse(web), {
    TaskTemplate: {
      ForceUpdate: 4,
      Networks: [{ Target: 'front-here' }, { Target: 'host' }],
      ContainerSpec: {
        Secrets: [{ SecretID: 'new-2', SecretName: 's' }],
        Configs: [{ ConfigID: 'new-1', ConfigName: 'c' }],
      },
    },
  });
  t.equal(
    from.services[0]?.spec && writeJson(serviceSpecFields(from.services[0].spec)).length > 0,
    true,
  );
});

const PREDEFINED = { 'com.docker.swarm.predefined': 'true' };

void t.test('nothing that comes from there acts here', async (t) => {
  const { lines } = await plan({
    services: [
      service('a\u001b]0;x\u0007\u202eb'),
      {
        ...service('__proto__'),
        Spec: {
          ...(service('__proto__')['Spec'] as Json),
          Labels: JSON.parse('{"__proto__":"x"}') as Json,
        },
      },
      service('n'.repeat(5000)),
    ],
  });
  t.match(lines[0], /^x service a\\u\{1b\}\]0;x\\u\{7\}\\u\{202e\}b: name must be valid/);
  t.match(lines[1], 'x service __proto__');
  t.ok(lines.every((line) => line.length < 1000));
  t.equal(({} as Json)['x'], undefined);
  const refused = (text: string, message: RegExp) =>
    t.throws(() => viewSwarm(parseSaved(text)), { code: 'invalid_argument', message });
  refused('{', /it is no JSON/);
  refused('[]', /the file is no object/);
  refused('{"format":"skep-import/2"}', /its format is not/);
  refused('{"format":"skep-import/1"}', /the swarm is no object/);
  refused(savedOf({ swarm: { Spec: null } }), /the spec of the swarm/);
  refused(savedOf({ services: {} as unknown as Json[] }), /services is no list/);
  refused(savedOf({ services: [{ ID: 'x' }] }), /the spec of an object is no object/);
  refused(savedOf({ services: [{ Spec: { Name: 'x' } }] }), /without ID/);
  refused(savedOf({ services: [object('x', {})] }), /without a name/);
  refused(savedOf({ services: [service('x'), service('x')] }), /same name or id/);
  refused(savedOf({ networks: Array<Json>(10_001).fill(overlay('n')) }), /more than 10000/);
  refused('['.repeat(5000), /it is no JSON/);
  const many = Array.from({ length: 17 }, (_, at) => ({ Target: `hidden-${at}` }));
  const answers: Readonly<Record<string, unknown>> = {
    '/swarm': { ID: 'x', Spec: SPEC },
    '/services': [service('a', task({ Networks: many }))],
  };
  const ask = (to: string) => Promise.resolve(parseJsonString(JSON.stringify(answers[to] ?? [])));
  await t.rejects(readSwarm(ask), { message: /on networks that it does not list/ });
});
