/** `skep stack` without a swarm: the printed file reads as itself, names of images, exit codes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { withTag } from '../../src/cli/stack/image-digest.js';
import {
  registryAuthFor,
  registryAuthHeader,
  registryOf,
} from '../../src/agent/registry-credentials.js';
import { runSkep } from '../api/support/cli.js';

const FILE = `
services:
  a:
    image: "i:\${TAG}"
    command: sh -c "echo $$HOME"
    environment: {PRICE: "5$$", EMPTY: }
    ports: ["127.0.0.1:80-81:80-81/udp"]
    tmpfs: [/run, "/t:size=1m,mode=1777"]
    cpus: 0.25
    stop_grace_period: 1500ms
    healthcheck: {test: "true", interval: 2s}
    secrets: [{source: s, mode: 0400}]
    ulimits: {nofile: {soft: 1, hard: 2}}
    depends_on: {b: {condition: service_healthy}}
    networks: {delay: {aliases: [x]}}
    volumes: [{type: tmpfs, target: /x, tmpfs: {mode: 0700}}]
    deploy: {update_config: {delay: 1m}, resources: {limits: {memory: 1g}}}
  b: {image: i}
networks: {delay: }
secrets: {s: {content: "a$$b"}}
`;

const folder = mkdtempSync(path.join(tmpdir(), 'skep-stack-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const file = path.join(folder, 'compose.yaml');
const none = path.join(folder, 'none.sock');

void t.test('the printed file reads as itself', async (t) => {
  writeFileSync(file, FILE);
  writeFileSync(path.join(folder, '.env'), 'TAG=1\n');
  const first = await runSkep(none, ['stack', 'config', '-c', file]);
  t.equal(first.code, 0, first.stderr);
  t.match(first.stdout, 'image: i:1');
  t.match(first.stdout, 'cpus: "0.25"');
  t.match(first.stdout, 'stop_grace_period: 1500ms');
  t.match(first.stdout, 'mode: "0400"');
  t.match(first.stdout, 'PRICE: 5$$');
  const second = await runSkep(none, ['stack', 'config', '-c', '-'], first.stdout);
  t.equal(second.stdout, first.stdout);
  const raw = await runSkep(none, ['stack', 'config', '--no-interpolate', '-c', file]);
  t.match(raw.stdout, 'image: i:${TAG}');
});

void t.test('exit codes and messages', async (t) => {
  const away = await runSkep(none, ['stack', 'deploy', '-c', file, 'x']);
  t.equal(away.code, 1);
  t.match(away.stderr, /skep: .*none\.sock/);
  const strict = ['stack', 'deploy', '--strict', '-c', '-', 'x'];
  const warned = await runSkep(none, strict, 'services: {a: {image: i, build: .}}');
  t.equal(warned.code, 1);
  t.equal(warned.stderr, 'services.a.build: unsupported option, ignored\n');
  const nameless = await runSkep(none, ['stack', 'deploy', '-c', '-'], 'services: {a: {image: i}}');
  t.match(nameless.stderr, /the stack needs a name/);
  const bad = await runSkep(none, ['stack', 'deploy', '-c', file, 'a b']);
  t.match(bad.stderr, /invalid stack name: "a b"/);
  const nowhere = await runSkep(none, ['stack', 'deploy', '--project-directory', '/dev', 'x']);
  t.match(nowhere.stderr, /no compose file in \/dev/);
});

void t.test('a node that manages no swarm', async (t) => {
  const socket = path.join(folder, 'engine.sock');
  const server = createServer((_request, response) => response.end('{"Swarm":{}}'));
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => server.close());
  const refused = await runSkep(socket, ['stack', 'deploy', '-c', file, 'x']);
  t.equal(refused.code, 1);
  t.match(refused.stderr, /this node is not a swarm manager\. Use "docker swarm init"/);
});

void t.test('names of images and their registries', async (t) => {
  const hub = 'https://index.docker.io/v1/';
  for (const [image, tagged, registry] of [
    ['redis', 'redis:latest', hub],
    ['docker.io/library/redis:5', 'redis:5', hub],
    ['docker.io/org/app', 'org/app:latest', hub],
    ['r.example/a', 'r.example/a:latest', 'r.example'],
    ['r.example:5000/a/b:c', 'r.example:5000/a/b:c', 'r.example:5000'],
    ['localhost/a', 'localhost/a:latest', 'localhost'],
    ['a@sha256:00', 'a@sha256:00', hub],
  ] as const) {
    t.equal(withTag(image), tagged);
    t.equal(registryOf(image), registry);
  }
  const auth = Buffer.from('user:pa:ss').toString('base64');
  writeFileSync(
    path.join(folder, 'config.json'),
    JSON.stringify({ auths: { 'r.example:5000': { auth } } }),
  );
  process.env['DOCKER_CONFIG'] = folder;
  t.strictSame(await registryAuthFor('r.example:5000/a'), {
    ...{ username: 'user', password: 'pa:ss', serveraddress: 'r.example:5000' },
  });
  const header = await registryAuthHeader('r.example:5000/a');
  t.equal(header.length % 4, 0, 'padded');
  t.match(JSON.parse(Buffer.from(header, 'base64url').toString()), { password: 'pa:ss' });
  t.equal(await registryAuthHeader('other.example/a'), '');
  t.equal(await registryAuthFor('other.example/a'), undefined);
});
