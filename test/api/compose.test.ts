/**
 * Compose files with the stock CLI, on a stock swarm and on ours: each key that is honoured arrives
 * in the same place, what is ignored and refused is so with the same words.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { dockerRequest } from '../testbed/http.js';
import { type CliResult, comparable, runCli, runSkep } from './support/cli.js';
import {
  DEPRECATED,
  HONOURED,
  IGNORED,
  REFUSED,
  SILENT,
  TOP_LEVEL,
} from './support/compose-cases.js';
import { canRunEngines, ENGINE_ADDRESS, IMAGE } from './support/private-engine.js';
import { startSides } from './support/sides.js';

/** The CLI with schema 3.9; newer ones know more keys. */
const CLI = '/usr/bin/docker';

// Two engines are started; the machine may be busy with other things.
t.setTimeout(300_000);

interface ServiceJson {
  readonly Spec: Readonly<Record<string, unknown>> & { readonly Name: string };
}

/** The value at a path of keys and indexes. */
function valueAt(root: unknown, place: string): unknown {
  return place
    .split('.')
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], root);
}

/** Runs no task: the stock swarm would start them, ours has no agent here. */
function withoutTasks(yaml: string): string {
  return yaml.includes('deploy:') ? yaml : `${yaml}\n    deploy: {replicas: 0}`;
}

function fileOf(services: readonly (readonly [string, string])[], rest = ''): string {
  const parts = services.map(
    ([name, yaml]) => `  ${name}:\n    image: ${IMAGE}\n    ${withoutTasks(yaml)}`,
  );
  return `version: "3.9"\nservices:\n${parts.join('\n')}\n${rest}`;
}

/** Specs by name, with ids made equal. */
async function specsOf(socket: string): Promise<ReadonlyMap<string, unknown>> {
  const { body } = await dockerRequest(socket, 'GET', '/v1.41/services');
  return new Map(
    (body as readonly ServiceJson[]).map(({ Spec }) => [
      Spec.Name,
      JSON.parse(comparable(JSON.stringify(Spec))) as unknown,
    ]),
  );
}

/** Names and labels of the objects of `keys`; the CLI prints labels in any order. */
async function listed(socket: string, kind: string): Promise<readonly string[]> {
  const args = [kind, 'ls', '--format', '{{.Name}} {{.Labels}}'];
  const { stdout } = await runCli(CLI, socket, args);
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('keys_') || line.startsWith('conf-7'))
    .map((line) => line.split(/[ ,]/).sort().join(' '))
    .sort();
}

void t.test('compose files, key by key', { timeout: 290_000 }, async (t) => {
  if (!(await canRunEngines())) return t.comment('needs root, dockerd and busybox');
  const folder = await mkdtemp(path.join(tmpdir(), 'skep-compose-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const [name, text] of [
    ['vars.env', 'FROM_FILE=yes\n'],
    ['secret.txt', 's'],
    ['config.txt', 'c'],
  ] as const)
    await writeFile(path.join(folder, name), text);
  const sides = await startSides(t);
  const sockets = [sides.stock, sides.ours] as const;
  for (const socket of sockets) {
    const args = ['swarm', 'init', '--advertise-addr', ENGINE_ADDRESS];
    t.equal((await runCli(CLI, socket, args)).code, 0);
  }
  const file = path.join(folder, 'docker-compose.yml');
  /** Deploys on both; what a person sees, with ids made equal. */
  const deploy = async (stack: string, text: string) => {
    await writeFile(file, text);
    const args = ['stack', 'deploy', '--resolve-image', 'never', '-c', file, stack];
    const [theirs, ours] = await Promise.all(sockets.map((socket) => runCli(CLI, socket, args)));
    return { theirs: shown(theirs), ours: shown(ours) };
  };

  await t.test('honoured keys', async (t) => {
    const text = fileOf(
      HONOURED.map(({ name, yaml }) => [name, yaml] as const),
      TOP_LEVEL,
    );
    const { theirs, ours } = await deploy('keys', text);
    // The CLI goes through maps, in any order.
    t.strictSame(ours.split('\n').sort(), theirs.split('\n').sort());
    t.match(ours, /^exit 0/);
    const [stock, mine] = await Promise.all([specsOf(sides.stock), specsOf(sides.ours)]);
    for (const { name, yaml, at, value } of HONOURED) {
      const spec = mine.get(`keys_${name}`);
      t.strictSame(spec, stock.get(`keys_${name}`), `${name}: as on a stock swarm`);
      const found = valueAt(spec, at);
      t.match(found, value, `${yaml || name} -> ${at}`);
    }
    for (const kind of ['network', 'secret', 'config'] as const) {
      const [theirs, ours] = await Promise.all(sockets.map((socket) => listed(socket, kind)));
      t.strictSame(ours, theirs, kind);
      t.not(ours?.length, 0);
    }
  });

  await t.test('ignored keys', async (t) => {
    for (const [key, value] of Object.entries(IGNORED)) {
      const { theirs, ours } = await deploy('ignored', fileOf([['a', `${key}: ${value}`]]));
      t.equal(ours, theirs);
      t.match(ours, new RegExp(`exit 0[\\s\\S]*Ignoring unsupported options: ${key}`), key);
    }
    for (const [key, value] of Object.entries(SILENT)) {
      const { theirs, ours } = await deploy('ignored', fileOf([['a', `${key}: ${value}`]]));
      t.equal(ours, theirs);
      t.notMatch(ours, /Ignoring/, key);
    }
    for (const [key, [value, words]] of Object.entries(DEPRECATED)) {
      const { theirs, ours } = await deploy('ignored', fileOf([['a', `${key}: ${value}`]]));
      t.equal(ours, theirs);
      t.match(ours, words, key);
    }
    const [stock, mine] = await Promise.all([specsOf(sides.stock), specsOf(sides.ours)]);
    t.strictSame(mine.get('ignored_a'), stock.get('ignored_a'));
  });

  await t.test('refused files', async (t) => {
    for (const [text, words] of REFUSED) {
      const { theirs, ours } = await deploy('refused', text);
      t.equal(ours, theirs, text);
      t.match(ours, /^exit 1/);
      t.match(ours, words, text);
    }
  });

  await t.test('skep stack deploy makes the same', async (t) => {
    const services = HONOURED.map(({ name, yaml }) => [name, yaml] as const);
    await writeFile(file, fileOf(services, TOP_LEVEL));
    const [stock, before] = await Promise.all(sockets.map(specsOf));
    const removal = await runCli(CLI, sides.ours, ['stack', 'rm', 'keys']);
    t.equal(removal.code, 0, removal.stderr);
    const again = await runSkep(sides.ours, [
      ...['stack', 'deploy', '--detach', '--resolve-image', 'never', '-c', file, 'keys'],
    ]);
    t.equal(again.code, 0, again.stderr);
    t.equal(again.stderr, '');
    const made = await specsOf(sides.ours);
    for (const { name, yaml } of HONOURED) {
      const spec = made.get(`keys_${name}`);
      t.strictSame(spec, before?.get(`keys_${name}`), `${yaml || name}: as the stock CLI makes it`);
      t.strictSame(spec, stock?.get(`keys_${name}`), `${yaml || name}: as on a stock swarm`);
    }
    for (const kind of ['network', 'secret', 'config'] as const) {
      const [theirs, ours] = await Promise.all(sockets.map((socket) => listed(socket, kind)));
      t.strictSame(ours, theirs, kind);
    }
    const unchanged = await runSkep(sides.ours, [
      ...['stack', 'deploy', '--diff', '-c', file, 'keys'],
    ]);
    t.equal(unchanged.stdout, 'nothing changes\n');
    // Against a stock swarm too, whose secrets are compared by its own rules.
    const diff = ['stack', 'deploy', '--diff', '-c', file, 'keys'];
    const there = await runSkep(sides.stock, diff);
    t.equal(there.stdout, 'nothing changes\n', there.stderr);
    await writeFile(path.join(folder, 'secret.txt'), 'other');
    for (const socket of sockets) {
      const { stdout } = await runSkep(socket, diff);
      t.match(stdout, '+ secret keys_key.2, new content of keys_key\n');
    }
    await writeFile(path.join(folder, 'secret.txt'), 's');
  });

  /** Deploys by `skep stack`; services have no tasks. */
  const skepDeploy = (socket: string, stack: string, ...options: readonly string[]) =>
    runSkep(socket, ['stack', 'deploy', '--resolve-image', 'never', '-c', file, ...options, stack]);
  const names = async (socket: string, kind: string): Promise<readonly string[]> => {
    const { stdout } = await runCli(CLI, socket, [kind, 'ls', '--format', '{{.Name}}']);
    return stdout
      .split('\n')
      .filter((name) => name.startsWith('lo_'))
      .sort();
  };
  const LO =
    'secrets: {x: {file: ./secret.txt}}\nconfigs: {c: {file: ./config.txt}}\nnetworks: {net: {}}\n';
  const withFiles = fileOf([['a', 'secrets: [x]\n    configs: [c]\n    networks: [net]']], LO);
  const write = (text: string) => writeFile(path.join(folder, 'secret.txt'), text);

  await t.test('what skep stack deploys differs in nothing afterwards', async (t) => {
    const cases = [
      'deploy: {replicas: 0, restart_policy: {delay: 1s}}',
      'deploy: {replicas: 0, restart_policy: {}, update_config: {}, resources: {}, placement: {}}',
      'volumes: [{type: bind, source: /x, target: /x, consistency: cached, bind: {}}, "/y:/y:rw"]',
      'volumes: [{type: volume, target: /z, volume: {}}]\n    healthcheck: {test: "true"}',
      'ports: ["9102-9104:80"]\n    networks: [net]\n    logging: {driver: local}',
    ].map((yaml, at) => [`c${at}`, yaml] as const);
    await writeFile(file, fileOf(cases, 'networks: {net: {}}\n'));
    for (const socket of sockets) {
      const made = await skepDeploy(socket, 'calm', '--detach');
      t.equal(made.code, 0, made.stderr);
      t.equal((await skepDeploy(socket, 'calm', '--diff')).stdout, 'nothing changes\n');
      const args = ['stack', 'deploy', '--resolve-image', 'never', '-c', file, 'calm'];
      t.match(shown(await runCli(CLI, socket, args)), /^exit 0/);
      t.equal((await skepDeploy(socket, 'calm', '--diff')).stdout, 'nothing changes\n');
      const spec = (await specsOf(socket)).get('calm_c4');
      t.equal(valueAt(spec, 'EndpointSpec.Ports.2.PublishedPort'), 9104);
      t.equal(valueAt(spec, 'EndpointSpec.Ports.2.TargetPort'), 80);
      await runCli(CLI, socket, ['stack', 'rm', 'calm']);
    }
  });

  await t.test('secrets and configs of others are no versions', async (t) => {
    await writeFile(file, withFiles);
    for (const socket of sockets) {
      await write('s');
      const foreign = ['lo_x.2', 'lo_x.7', 'lo_x.9'];
      const labels = [[], ['-l', 'owner=ops'], ['-l', 'com.docker.stack.namespace=other']];
      for (const [at, name] of foreign.entries()) {
        const args = ['secret', 'create', ...(labels[at] ?? []), name, '-'];
        t.equal((await runCli(CLI, socket, args, 's')).code, 0);
      }
      t.equal((await runCli(CLI, socket, ['config', 'create', 'lo_c', '-'], 'else')).code, 0);
      const first = await skepDeploy(socket, 'lo');
      t.equal(first.code, 0, first.stderr);
      t.notMatch(first.stdout, /Removing/);
      t.strictSame(await names(socket, 'config'), ['lo_c', 'lo_c.2'], 'the plain name is taken');
      await write('other');
      const second = await skepDeploy(socket, 'lo', '--prune');
      t.match(second.stdout, 'Creating secret lo_x.3, new content of lo_x\n');
      t.match(second.stdout, 'Removing secret lo_x\n');
      t.strictSame(await names(socket, 'secret'), ['lo_x.2', 'lo_x.3', 'lo_x.7', 'lo_x.9']);
      await runCli(CLI, socket, ['stack', 'rm', 'lo']);
      t.strictSame(await names(socket, 'secret'), foreign);
      t.strictSame(await names(socket, 'config'), ['lo_c']);
      await runCli(CLI, socket, ['secret', 'rm', ...foreign]);
      await runCli(CLI, socket, ['config', 'rm', 'lo_c']);
    }
  });

  await t.test('both commands in turn, after new content', async (t) => {
    for (const socket of sockets) {
      const args = ['stack', 'deploy', '--resolve-image', 'never', '-c', file, 'lo'];
      const reference = async () =>
        valueAt((await specsOf(socket)).get('lo_a'), 'TaskTemplate.ContainerSpec.Secrets.0');
      await write('s');
      t.equal((await skepDeploy(socket, 'lo')).code, 0);
      await write('other');
      t.equal((await skepDeploy(socket, 'lo')).code, 0);
      t.strictSame(await names(socket, 'secret'), ['lo_x.2']);
      t.match(shown(await runCli(CLI, socket, args)), /^exit 0/);
      t.match(await reference(), { SecretName: 'lo_x' }, 'the docker CLI knows no versions');
      const back = await skepDeploy(socket, 'lo');
      t.match(back.stdout, 'Service lo_a is up to date\n');
      t.match(back.stdout, 'Removing secret lo_x.2\n');
      t.match(await reference(), { SecretName: 'lo_x' });
      t.equal((await runCli(CLI, socket, args)).code, 0);
      t.equal((await skepDeploy(socket, 'lo', '--diff')).stdout, 'nothing changes\n');
      await runCli(CLI, socket, ['stack', 'rm', 'lo']);
    }
  });

  await t.test('several deployments at once', async (t) => {
    for (const socket of sockets) {
      for (const content of ['s', 'other']) {
        await write(content);
        const all = await Promise.all([1, 2, 3].map(() => skepDeploy(socket, 'lo')));
        for (const { code, stderr } of all) t.equal(code, 0, stderr);
      }
      t.strictSame(await names(socket, 'secret'), ['lo_x.2']);
      t.strictSame(await names(socket, 'service'), ['lo_a']);
      t.strictSame(await names(socket, 'network'), ['lo_net']);
      await runCli(CLI, socket, ['stack', 'rm', 'lo']);
    }
    await write('s');
  });

  await t.test('a second deploy with other content, and removal', async (t) => {
    await writeFile(path.join(folder, 'config.txt'), 'other');
    const again = await deploy('keys', fileOf([['hostname', 'configs: [conf]']], TOP_LEVEL));
    t.equal(again.ours, again.theirs);
    t.match(again.ours, /only updates to Labels are allowed/);
    for (const stack of ['keys', 'ignored', 'refused']) {
      const [theirs, ours] = await Promise.all(
        sockets.map((socket) => runCli(CLI, socket, ['stack', 'rm', stack])),
      );
      t.equal(ours?.code, 0, ours?.stderr ?? '');
      t.strictSame(shown(ours).split('\n').sort(), shown(theirs).split('\n').sort());
    }
  });
});

function shown(result: CliResult | undefined): string {
  if (result === undefined) return '';
  return comparable(`exit ${result.code}\n${result.stdout}${result.stderr}`);
}
