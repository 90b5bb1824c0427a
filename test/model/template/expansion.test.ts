/** SwarmKit's templates: what tasks and payloads get, and the messages of what cannot be filled in. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { SkepError } from '../../../src/model/errors.js';
import {
  ConfigSchema,
  SecretSchema,
  type Task,
  TaskSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { Mount_Type as MountType } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import {
  expandPayload,
  expandTask,
  type PayloadSource,
} from '../../../src/model/template/expansion.js';

const NODE = { hostname: 'h1', architecture: 'x86_64', os: 'linux' };

function task(container: object, parts: object = {}): Task {
  return create(TaskSchema, {
    id: 'taskid',
    serviceId: 'serviceid',
    nodeId: 'nodeid',
    slot: 3n,
    serviceAnnotations: { name: 'web', labels: { tier: 'front', 'com.example.x': 'y' } },
    annotations: { name: '' },
    spec: { runtime: { case: 'container', value: { image: 'i', ...container } } },
    ...parts,
  });
}

function expanded(container: object, parts: object = {}) {
  const runtime = expandTask(task(container, parts), NODE).spec?.runtime;
  if (runtime?.case !== 'container') throw new Error('no container');
  return runtime.value;
}

/** The environment variable X after expansion. */
function value(template: string, parts: object = {}): string {
  return expanded({ env: [`X=${template}`] }, parts).env[0]?.slice(2) ?? '';
}

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof SkepError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no error';
}

void t.test('what a template may know', async (t) => {
  t.equal(
    value('{{.Service.ID}} {{.Service.Name}} {{.Service.Labels.tier}}'),
    'serviceid web front',
  );
  t.equal(value('{{index .Service.Labels "com.example.x"}}{{index .Service.Labels "no"}}'), 'y');
  t.equal(
    value('{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.Architecture}}/{{.Node.Platform.OS}}'),
    'nodeid h1 x86_64/linux',
  );
  t.equal(value('{{.Task.ID}} {{.Task.Name}} {{.Task.Slot}}'), 'taskid web.3.taskid 3');
  t.equal(value('{{.Task.Slot}} {{.Task.Name}}', { slot: 0n }), 'nodeid web.nodeid.taskid');
  t.equal(value('{{join "-" .Service.Name "x" .Task.Slot}}'), 'web-x-3');
  t.equal(
    value('{{range $k, $v := .Service.Labels}}{{$k}}={{$v}};{{end}}'),
    'com.example.x=y;tier=front;',
  );
  t.equal(
    value('{{.Service}} {{.Node.Platform}}'),
    '{serviceid web map[com.example.x:y tier:front]} {x86_64 linux}',
  );
  t.equal(value('{{printf "%+v" .Task}}'), '{ID:taskid Name:web.3.taskid Slot:3}');
  t.equal(value('{{printf "%T" .Service.Labels}} {{len .Service.Labels}}'), 'map[string]string 2');
});

void t.test('hostname, environment and mounts are filled in, nothing else', async (t) => {
  const text = '{{.Node.Hostname}}';
  const spec = expanded({
    hostname: `${text}-ü`,
    env: ['PLAIN', `A={{.Task.Slot}}=b`, '{{.Task.Slot}}=c'],
    args: [text],
    command: [text],
    dir: text,
    user: text,
    labels: { a: text },
    mounts: [
      {
        type: MountType.VOLUME,
        source: 'data-{{.Task.Slot}}',
        target: `/data/${text}`,
        volumeOptions: {
          labels: { l: text, [text]: 'k' },
          driverConfig: { name: 'local', options: { o: text } },
        },
      },
    ],
  });
  t.equal(spec.hostname, 'h1-ü');
  t.same(spec.env, ['PLAIN', 'A=3=b', '{{.Task.Slot}}=c']);
  t.same(
    [...spec.args, ...spec.command, spec.dir, spec.user, spec.labels['a']],
    Array(5).fill(text),
  );
  const [mount] = spec.mounts;
  t.equal(mount?.source, 'data-3');
  t.equal(mount?.target, '/data/h1');
  t.same(mount?.volumeOptions?.labels, { l: 'h1', [text]: 'k' });
  t.same(mount?.volumeOptions?.driverConfig?.options, { o: 'h1' });
});

void t.test('what cannot be filled in is refused with the words of Swarm', async (t) => {
  const at = 'template: expansion:1';
  const cases: readonly (readonly [object, string])[] = [
    [
      { hostname: '{{.Nope}}' },
      `expanding hostname failed: ${at}:2: executing "expansion" at <.Nope>: can't evaluate field Nope in type *template.Context`,
    ],
    [
      { env: ['A={{.Service.Nope}}'] },
      `expanding env failed: expanding env "A={{.Service.Nope}}": ${at}:10: executing "expansion" at <.Service.Nope>: can't evaluate field Nope in type struct { ID string; Name string; Labels map[string]string }`,
    ],
    [
      { env: ['A={{.Service.Labels.nope}}'] },
      `expanding env failed: expanding env "A={{.Service.Labels.nope}}": ${at}:10: executing "expansion" at <.Service.Labels.nope>: map has no entry for key "nope"`,
    ],
    [
      { mounts: [{ source: '{{', target: '/a' }] },
      `expanding mounts failed: expanding mount source "{{": ${at}: unclosed action`,
    ],
    [
      { mounts: [{ source: 'a', target: '{{join}}' }] },
      `expanding mounts failed: expanding mount target "{{join}}": ${at}:2: executing "expansion" at <join>: error calling join: runtime error: slice bounds out of range [1:0]`,
    ],
    [
      { mounts: [{ target: '/a', volumeOptions: { labels: { l: '{{env "A"}}' } } }] },
      `expanding mounts failed: expanding volume labels: expanding map entry "l"="{{env \\"A\\"}}": ${at}: function "env" not defined`,
    ],
    [
      { hostname: '{{join "a" 1}}' },
      `expanding hostname failed: ${at}:11: executing "expansion" at <1>: expected string; found 1`,
    ],
  ];
  for (const [container, text] of cases)
    t.equal(
      refusal(() => expanded(container)),
      `invalid_argument: ${text}`,
    );
});

function source(secrets: Record<string, string>, configs: Record<string, string>): PayloadSource {
  return {
    secret: (id) =>
      secrets[id] === undefined
        ? undefined
        : create(SecretSchema, { id, spec: { data: Buffer.from(secrets[id], 'latin1') } }),
    config: (id) =>
      configs[id] === undefined
        ? undefined
        : create(ConfigSchema, { id, spec: { data: Buffer.from(configs[id], 'latin1') } }),
  };
}

const PAYLOAD_TASK = task({
  env: ['HELLO=world', 'EMPTY=', 'BARE', 'U=ü'],
  secrets: [
    { secretId: 's1', secretName: 'n1', target: { case: 'file', value: { name: 'password' } } },
    { secretId: 's2', secretName: 'n2', target: { case: 'file', value: { name: '/abs/key' } } },
  ],
  configs: [
    { configId: 'c1', configName: 'n3', target: { case: 'file', value: { name: '/etc/part' } } },
    { configId: 'c2', configName: 'n4', target: { case: 'runtime', value: {} } },
  ],
});
const SOURCE = source({ s1: 'hunter2\xff', s2: 'K', other: 'not mine' }, { c1: 'part', c2: 'r' });

function payload(
  kind: 'secret' | 'config',
  text: string,
  driver: string | undefined = 'golang',
): string {
  const data = Buffer.from(text, 'latin1');
  const spec = driver === '' ? { data } : { data, templating: { name: driver, options: {} } };
  const place = { task: PAYLOAD_TASK, node: NODE, dependencies: SOURCE };
  const expandedData = expandPayload(
    kind,
    'id1',
    spec as Parameters<typeof expandPayload>[2],
    place,
  );
  return Buffer.from(expandedData).toString('latin1');
}

void t.test('payloads see secrets, configs and environment of their task', async (t) => {
  t.equal(payload('config', '{{.Node.Hostname}}', ''), '{{.Node.Hostname}}', 'no driver');
  t.equal(payload('config', 'Hello {{ env "HELLO" }}! {{ .Service.Name }}'), 'Hello world! web');
  t.equal(payload('config', '[{{env "EMPTY"}}{{env "BARE"}}{{env "NOPE"}}]'), '[]');
  t.equal(
    payload('config', 'p={{secret "password"}} k={{secret "/abs/key"}}'),
    'p=hunter2\xff k=K',
  );
  t.equal(payload('secret', '{{config "/etc/part"}}{{join "," "a" "b"}}'), 'parta,b');
  t.equal(payload('config', '{{env "U"}}\xfe\x00'), '\xc3\xbc\xfe\x00', 'bytes stay bytes');
  t.equal(
    payload('config', '{{if eq (env "HELLO") "world"}}{{printf "%q" (env "HELLO")}}{{end}}'),
    '"world"',
  );
});

void t.test('payloads that cannot be filled in', async (t) => {
  const failed = 'invalid_argument: failed to expand templated';
  t.equal(
    refusal(() => payload('config', '{{secret "nope"}}')),
    `${failed} config id1: template: expansion:1:2: executing "expansion" at <secret "nope">: error calling secret: secret target nope not found`,
  );
  t.equal(
    refusal(() => payload('config', '{{config "runtime"}}')),
    `${failed} config id1: template: expansion:1:2: executing "expansion" at <config "runtime">: error calling config: config target runtime not found`,
  );
  t.equal(
    refusal(() => payload('config', 'x', 'jinja')),
    `${failed} config id1: unrecognized template type`,
  );
  t.match(
    refusal(() => payload('config', '{{.Nope}}')),
    'Nope in type *template.PayloadContext',
  );
  t.match(
    refusal(() => payload('config', '{{env}}')),
    'wrong number of args for env: want 1 got 0',
  );
  const hidden = 'the template cannot be filled in (a secret is not quoted)';
  t.equal(
    refusal(() => payload('secret', 'a\n{{eq 1 "hunter3"}}')),
    `${failed} secret id1: template: expansion:2:2: ${hidden}`,
  );
  t.notMatch(
    refusal(() => payload('secret', '{{hunter3}}')),
    /hunter3/,
  );
  for (const use of ['config (secret "password")', 'secret (secret "password")'])
    t.equal(
      refusal(() => payload('config', `{{${use}}}`)),
      `${failed} config id1: template: expansion:1:2: ${hidden}`,
    );
  for (const use of ['range (secret "password")', 'with call (secret "password")'])
    t.notMatch(
      refusal(() => payload('config', `{{${use}}}{{end}}`)),
      /hunter2/,
    );
});
