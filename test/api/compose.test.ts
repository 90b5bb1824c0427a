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
