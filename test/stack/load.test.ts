/** Loading compose files: short forms, merging, `include`, `extends`, profiles, what is refused. */
import t from 'tap';
import { load, projectOf, specWith } from './support.js';

const ONE = 'services: {a: {image: i}}';

void t.test('short forms become long ones', async (t) => {
  const { file } = await load({
    'compose.yml': `
x-env: &env {A: 1, B: yes}
services:
  a:
    image: i
    command: sh -c 'echo "a b"' # not this
    environment: {<<: *env, C: null, D: 010}
    ports: ["80", 8080:80, "127.0.0.1:53:53/udp", "[::1]:90-91:90-91", "1.2.3.4::5"]
    volumes: [/anonymous, "data:/d:ro", "./x:/x:rslave"]
    networks: [n]
    depends_on: [b]
    env_file: f.env
    stop_grace_period: 1m30s
    secrets: [{source: s, mode: 0440}]
    ulimits: {nproc: 5}
  b: {image: i}
networks: {n: }
secrets: {s: {file: s.txt}}
volumes: {data: {external: {name: d}}}
`,
  });
  const { a } = file.services ?? {};
  t.strictSame(a?.command, ['sh', '-c', 'echo "a b"']);
  t.strictSame(a?.environment, { A: '1', B: 'yes', C: null, D: '8' });
  const ports = a?.ports?.map(({ host_ip = '', published, target, protocol }) =>
    [host_ip, published, target, protocol].join(' '),
  );
  t.strictSame(ports, [
    ...[' 0 80 tcp', ' 8080 80 tcp', '127.0.0.1 53 53 udp', '::1 90 90 tcp'],
    ...['::1 91 91 tcp', '1.2.3.4 0 5 tcp'],
  ]);
  t.strictSame(a?.volumes, [
    { type: 'volume', target: '/anonymous' },
    { type: 'volume', source: 'data', target: '/d', read_only: true },
    { type: 'bind', source: '/p/x', target: '/x', bind: { propagation: 'rslave' } },
  ]);
  t.strictSame(a?.networks, { n: null });
  t.strictSame(a?.depends_on, { b: { condition: 'service_started' } });
  t.strictSame(a?.env_file, [{ path: '/p/f.env' }]);
  t.equal(a?.stop_grace_period, 90e9);
  t.strictSame(a?.secrets, [{ source: 's', mode: 0o440 }]);
  t.strictSame(a?.ulimits, { nproc: { soft: 5, hard: 5 } });
  t.strictSame(file.secrets, { s: { file: '/p/s.txt' } });
  t.strictSame(file.volumes, { data: { external: true, name: 'd' } });
});

void t.test('a later file goes over an earlier one', async (t) => {
  const { file } = await load({
    'compose.yml': `
services:
  a:
    image: i
    command: [one, two]
    environment: [A=1, B=1]
    ports: ["80:80", "81:81"]
    volumes: ["v:/x", "v:/y"]
    dns: [1.1.1.1]
    cap_add: [A]
    labels: {l: "1"}
    networks: {n: {aliases: [q]}}
    user: u
`,
    'second.yml': `
services:
  a:
    command: [three]
    environment: {B: 2, C: 3}
    ports: ["80:90"]
    volumes: ["w:/x"]
    dns: 2.2.2.2
    cap_add: !override [B]
    labels: !reset null
    user: !reset null
    networks: [n, m]
`,
  });
  t.strictSame(file.services?.['a'], {
    image: 'i',
    command: ['three'],
    environment: { A: '1', B: '2', C: '3' },
    ports: [
      { target: 90, published: 80, protocol: 'tcp', mode: 'ingress' },
      { target: 81, published: 81, protocol: 'tcp', mode: 'ingress' },
    ],
    volumes: [
      { type: 'volume', source: 'w', target: '/x' },
      { type: 'volume', source: 'v', target: '/y' },
    ],
    dns: ['1.1.1.1', '2.2.2.2'],
    cap_add: ['B'],
    networks: { n: { aliases: ['q'] }, m: null },
  });
});

void t.test('files include and extend others', async (t) => {
  const files = {
    'compose.yml': `
include: [sub/inner.yml]
services:
  a:
    extends: {file: sub/base.yml, service: base}
    image: mine
  b: {extends: a, hostname: b}
`,
    'sub/base.yml': `
services:
  base: {extends: root, image: theirs, volumes: ["./d:/d"], environment: {V: "\${V}"}}
  root: {image: r, user: "5"}
`,
    'sub/inner.yml': 'services: {c: {image: c, env_file: c.env}}',
    'sub/c.env': 'X=1',
  };
  const project = await projectOf(files, { V: 'v' });
  const base = {
    image: 'mine',
    user: '5',
    volumes: [{ type: 'bind', source: '/p/sub/d', target: '/d' }],
    environment: { V: 'v' },
  };
  t.match(project.services.get('a'), base);
  t.match(project.services.get('b'), { ...base, hostname: 'b' });
  t.strictSame(project.services.get('c'), { image: 'c', environment: { X: '1' } });
  const loop = 'services: {a: {extends: b}, b: {extends: a}}';
  await t.rejects(load({ 'compose.yml': loop }), /extends itself/);
  await t.rejects(load({ 'compose.yml': 'include: [compose.yml]' }), /too deeply/);
  const conflict = { ...files, 'sub/inner.yml': 'services: {b: {image: z}}' };
  await t.rejects(load(conflict, { V: '' }), /services.b conflicts with imported resource/);
});

void t.test('profiles, environments, contents', async (t) => {
  const files = {
    'compose.yml': `
services:
  a:
    {image: i, profiles: [p], environment: [FROM, NOWHERE], ports: ["9102-9104:80"],
     env_file: [{path: none, required: false}, names.env, {path: names.env, format: raw}]}
  b: {image: i}
secrets: {s: {environment: FROM}, t: {content: "x\${FROM}"}}
`,
    'names.env': 'UNSET\nFROM\n',
  };
  const without = await projectOf(files, { FROM: 'f' });
  t.strictSame([...without.services.keys()], ['b']);
  const project = await projectOf(files, { FROM: 'f' }, ['p']);
  t.strictSame(project.services.get('a')?.environment, { FROM: 'f', NOWHERE: null });
  t.match(
    project.services.get('a')?.ports,
    [9102, 9103, 9104].map((published) => ({ published, target: 80 })),
    'a range to one target',
  );
  const data = (key: string) => new TextDecoder().decode(project.secrets.get(key)?.data);
  t.strictSame([data('s'), data('t')], ['f', 'xf']);
});

void t.test('what is refused, with its place', async (t) => {
  const service = (keys: string) => `services: {a: {image: i, ${keys}}}`;
  for (const [yaml, message] of [
    [
      service('nonsense: 1'),
      /compose.yml: services.a: Additional property nonsense is not allowed/,
    ],
    [service('deploy: {replicas: x}'), /services.a.deploy.replicas: must be a whole number/],
    [service('ports: ["a:b"]'), /services.a.ports\[0\]: invalid port "a:b"/],
    [service('ports: ["80-82:90-91"]'), /invalid ranges/],
    [service('ports: ["99999:1"]'), /invalid port 99999/],
    [service('volumes: ["a:b:c:d"]'), /invalid spec/],
    [service('stop_grace_period: soon'), /invalid duration "soon"/],
    [service('mem_limit: much'), /invalid size/],
    [service('cpus: 0.12345678912'), /too precise/],
    [service("command: echo 'x"), /a quote is not closed/],
    [service('volumes_from: [b]'), /To share a volume between services/],
    [service('networks: [nowhere]'), /undefined network "nowhere"/],
    [service('secrets: [nowhere]'), /undefined secret "nowhere"/],
    [service('configs: [nowhere]'), /undefined config "nowhere"/],
    [service('volumes: ["nowhere:/x"]'), /undefined volume "nowhere"/],
    [service('depends_on: [nowhere]'), /depends on undefined service "nowhere"/],
    ['services: {a: {image: i, depends_on: [a]}}', /dependency cycle detected: a -> a/],
    ['services: [a]', /services: must be a mapping/],
    ['services: {a: {image: i}, a: {image: j}}', /Map keys must be unique/],
    ['a: {b', /compose.yml/],
    ['- 1', /Top-level object must be a mapping/],
    ['services: !exec {a: {}}', /unknown tag !exec/],
    [
      `${ONE}\nsecrets: {s: {}}`,
      /secret s: one of file, environment, content, driver must be given/,
    ],
    [`${ONE}\nsecrets: {s: {file: f, content: c}}`, /not more/],
    [`${ONE}\nconfigs: {s: {file: f, external: true}}`, /conflicting parameters/],
    [`${ONE}\nsecrets: {s: {file: none}}`, /no such file: \/p\/none/],
    ['x: &x [1]\ny: [*x]\n', /Additional property x is not allowed/],
  ] as const)
    await t.rejects(projectOf({ 'compose.yml': yaml }), message, yaml);
  const bomb = Array.from({ length: 12 }, (_, i) =>
    i === 0 ? 'x-0: &a0 [1,1,1,1,1,1,1,1,1]' : `x-${i}: &a${i} [${`*a${i - 1},`.repeat(9)}]`,
  ).join('\n');
  await t.rejects(load({ 'compose.yml': bomb }), /alias/i);
});

void t.test('what a swarm cannot do is warned about', async (t) => {
  const { warnings } = await load({
    'compose.yml': 'services: {a: {image: i, build: ., container_name: c}}',
  });
  t.strictSame(warnings, [
    'services.a.build: unsupported option, ignored',
    'services.a.container_name: Setting the container name is not supported.',
  ]);
});

void t.test('additions to what the docker CLI makes of a file', async (t) => {
  const container = async (keys: string, rest?: string) =>
    (await specWith(keys, rest)).TaskTemplate.ContainerSpec;
  t.match(await container('tmpfs: /run:size=1m,mode=1770'), {
    Mounts: [{ Type: 'tmpfs', Target: '/run', TmpfsOptions: { SizeBytes: 1 << 20, Mode: 0o1770 } }],
  });
  t.match(await container('group_add: ["5"]'), { Groups: ['5'] });
  t.match((await specWith('scale: 3')).Mode, { Replicated: { Replicas: 3 } });
  t.match((await specWith('cpus: 0.5\nmem_limit: 1g')).TaskTemplate, {
    Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 1 << 30 } },
  });
  const ports = await specWith('ports: ["127.0.0.1:80:80", "192.0.2.1:81:81"]');
  t.match(ports.Labels, {
    'skep.publish.80.address': 'lo',
    'skep.publish.81.address': '192.0.2.1',
  });
  await t.rejects(specWith('ports: ["192.0.2.1::81"]'), /needs a published port/);
  await t.rejects(specWith('user: u', '', 'build: .'), /no image specified/);
});
