/** Secrets from a plugin: a real process behind a socket, found in all ways a stock engine knows. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { type ManagedPlugin } from '../../../src/manager/drivers/plugin-endpoint.js';
import { SecretDrivers } from '../../../src/manager/drivers/secret-drivers.js';
import { TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { SecretSpecSchema } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { packageRoot } from '../../testbed/layout.js';

const folder = mkdtempSync(path.join(tmpdir(), 'skep-plugins-'));
const sockets = path.join(folder, 'run');
const specs = path.join(folder, 'etc');
const socketPath = path.join(sockets, 'vault.sock');
const managed = new Map<string, ManagedPlugin>();
let plugin: ChildProcess | undefined;

const drivers = new SecretDrivers({
  sockets,
  specs: [specs],
  managed: async (name) => managed.get(name),
});

const TASK = create(TaskSchema, {
  id: 'task1',
  serviceId: 'service1',
  nodeId: 'node1',
  slot: 2n,
  serviceAnnotations: { name: 'web', labels: { tier: 'front' } },
  spec: { runtime: { case: 'container', value: { image: 'i:1', hostname: 'h' } } },
  endpoint: { spec: { ports: [{ targetPort: 80, publishedPort: 8000 }] } },
});

async function fetchText(name: string, driver = 'vault'): Promise<string> {
  const spec = create(SecretSpecSchema, {
    annotations: { name, labels: { stage: 'test' } },
    driver: { name: driver },
  });
  const { data, isForTaskOnly } = await drivers.fetch(spec, TASK);
  return `${Buffer.from(data).toString()}${isForTaskOnly ? ' (own)' : ''}`;
}

t.before(async () => {
  mkdirSync(sockets);
  mkdirSync(specs);
  const script = path.join(packageRoot(), 'dist/test/manager/drivers/test-plugin.js');
  plugin = spawn(process.execPath, [script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => plugin?.stdout?.once('data', resolve));
});

t.teardown(() => {
  plugin?.kill();
  rmSync(folder, { recursive: true, force: true });
});

void t.test('the plugin is asked as SwarmKit asks', async (t) => {
  t.strictSame(JSON.parse(await fetchText('echo')), {
    SecretName: 'echo',
    SecretLabels: { stage: 'test' },
    ServiceHostname: 'h',
    ServiceID: 'service1',
    ServiceName: 'web',
    ServiceLabels: { tier: 'front' },
    TaskID: 'task1',
    TaskName: 'web.2.task1',
    TaskImage: 'i:1',
    NodeID: 'node1',
    ServiceEndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8000 }] },
  });
  t.equal(await fetchText('key'), 'SKEP-DRIVER-7c3e key');
  t.equal(await fetchText('own'), 'SKEP-DRIVER-7c3e own task1 (own)');
});

void t.test('plugins are found where a stock engine finds them', async (t) => {
  writeFileSync(path.join(specs, 'text.spec'), `unix://${socketPath}\n`);
  writeFileSync(path.join(specs, 'json.json'), JSON.stringify({ Addr: `unix://${socketPath}` }));
  managed.set('org/vault:1', {
    ...{ id: '.', isEnabled: true, types: ['docker.secretprovider/1.0'], socket: 'vault.sock' },
  });
  for (const name of ['text', 'json', 'org/vault:1'])
    t.equal(await fetchText('key', name), 'SKEP-DRIVER-7c3e key', name);
  managed.set('off', {
    ...{ id: '.', isEnabled: false, types: ['docker.secretprovider/1.0'], socket: 'vault.sock' },
  });
  managed.set('other', {
    ...{ id: '.', isEnabled: true, types: ['docker.volumedriver/1.0'], socket: 'vault.sock' },
  });
  await t.rejects(fetchText('key', 'off'), /plugin off found but disabled/);
  await t.rejects(fetchText('key', 'other'), /plugin other does not implement secretprovider/);
  for (const name of ['nowhere', '../run/vault', ''])
    await t.rejects(fetchText('key', name), { message: `plugin "${name}" not found` });
});

void t.test('what a plugin says or does wrong', async (t) => {
  await t.rejects(fetchText('fail'), /the vault is sealed/);
  await t.rejects(fetchText('empty'), /larger than 0 and less than 512000 bytes/);
  await t.rejects(fetchText('huge'), /larger than 0 and less than 512000 bytes/);
  const answers = async (name: string, answer: string): Promise<void> => {
    const server = net.createServer((connection) => {
      connection.on('error', () => undefined);
      connection.once('data', () => connection.end(answer));
    });
    await new Promise<void>((resolve) =>
      server.listen(path.join(sockets, `${name}.sock`), resolve),
    );
    t.teardown(() => server.close());
  };
  const ok = 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n';
  await answers('noise', `${ok}SKEP-NOISE`);
  await answers('list', `${ok}[]`);
  await answers('volumes', `${ok}{"Implements":["VolumeDriver"]}`);
  await answers('error', 'HTTP/1.1 500 No\r\nconnection: close\r\n\r\nSKEP-NOISE');
  await answers('flood', `${ok}${'x'.repeat(2 << 20)}`);
  await t.rejects(fetchText('key', 'noise'), { message: /^(?!.*SKEP-NOISE).*is not JSON$/ });
  await t.rejects(fetchText('key', 'list'), /is no object/);
  await t.rejects(fetchText('key', 'volumes'), /does not implement secretprovider/);
  await t.rejects(fetchText('key', 'error'), /status 500/);
  await t.rejects(fetchText('key', 'flood'), /too large an answer/);
});
