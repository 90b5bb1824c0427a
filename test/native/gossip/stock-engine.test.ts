/**
 * A stock Docker Engine as a ring mate: its NetworkDB takes us in with the keys that its own manager
 * hands out, and entries travel both ways.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { create, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { EndpointRecordSchema } from '../../../src/model/gen/skep/network/v1/tables_pb.js';
import { OwnEngine } from '../../agent/support/own-engine.js';
import { must, waitFor } from '../../testbed/commands.js';

const MANAGER = '192.0.2.10';
const OWN = '192.0.2.11';
const PROGRAM = fileURLToPath(new URL('engine-ring-mate.js', import.meta.url));
const LIMIT_MS = 30_000;

const engine = new OwnEngine();
let mate: ChildProcessWithoutNullStreams | undefined;
const said: Record<string, unknown>[] = [];

t.setTimeout(120_000);
t.teardown(async () => {
  mate?.kill('SIGKILL');
  await engine.destroy();
});

function docker(...args: readonly string[]): Promise<string> {
  return must('/usr/bin/docker', ['-H', `unix://${engine.socket}`, ...args]);
}

function startMate(networkId: string, token: string): ChildProcessWithoutNullStreams {
  const state = join(engine.directory, 'mate');
  mkdirSync(state, { recursive: true });
  const program = [process.execPath, PROGRAM, state, MANAGER, OWN, networkId, token];
  const child = spawn('nsenter', [...engine.networkArgs(), ...program]);
  child.stderr.pipe(process.stderr);
  createInterface(child.stdout).on('line', (line) => {
    said.push(JSON.parse(line) as Record<string, unknown>);
  });
  return child;
}

/** Waits until the ring mate has said something with these properties. */
function hears(what: string, wanted: Record<string, unknown>): Promise<Record<string, unknown>> {
  return waitFor(what, LIMIT_MS, async () =>
    said.find((one) => Object.entries(wanted).every(([key, value]) => one[key] === value)),
  );
}

/** What the engine says of the network, with what it learnt by gossip. */
async function engineShows(what: string, pattern: RegExp, shown = true): Promise<void> {
  await waitFor(what, LIMIT_MS, async () =>
    pattern.test(await docker('network', 'inspect', '-v', 'ours')) === shown ? true : undefined,
  );
}

void t.test('a stock engine in the ring', { timeout: 110_000 }, async (t) => {
  await engine.start();
  const ip = (...words: readonly string[]): Promise<string> =>
    must('nsenter', [...engine.networkArgs(), 'ip', ...words]);
  await ip('link', 'add', 'up0', 'type', 'bridge');
  for (const address of [MANAGER, OWN]) await ip('addr', 'add', `${address}/24`, 'dev', 'up0');
  await ip('link', 'set', 'up0', 'up');
  await docker('swarm', 'init', '--advertise-addr', MANAGER, '--listen-addr', MANAGER);
  const token = (await docker('swarm', 'join-token', '-q', 'worker')).trim();
  const create_ = ['network', 'create', '-d', 'overlay', '--attachable'];
  const networkId = (await docker(...create_, '--subnet', '198.51.100.0/24', 'ours')).trim();
  const run = [
    'run',
    '-d',
    '--name',
    'before',
    '--network',
    'ours',
    'skep-test/web:1',
    'sh',
    '-c',
    'sleep 600',
  ];
  const before = (await docker(...run)).trim();

  mate = startMate(networkId, token);
  t.match(await hears('the ring', { type: 'joined' }), { keys: 3, reached: 1 });
  await hears('the engine on the network', { type: 'network-member', joined: true });
  const entry = await hears('an entry from before', { type: 'entry', table: 'endpoint_table' });
  t.equal(entry['name'], 'before', 'without a virtual address');
  await engineShows('us as a peer', /192\.0\.2\.11/);

  const record = create(EndpointRecordSchema, {
    name: 'elsewhere.1',
    serviceName: 'elsewhere',
    serviceId: 'serviceofours',
    virtualIp: '198.51.100.77',
    endpointIp: '198.51.100.78',
  });
  const hex = Buffer.from(toBinary(EndpointRecordSchema, record)).toString('hex');
  mate.stdin.write(`put endpointofours ${hex}\n`);
  await engineShows('our entry', /"EndpointIP": "198\.51\.100\.78"/);
  const named = async (what: string, address: string | undefined): Promise<void> => {
    await waitFor(what, LIMIT_MS, async () => {
      const command = 'nslookup elsewhere; true';
      const answer = await docker('exec', before, 'sh', '-c', command);
      return /198\.51\.100\.\d+/.exec(answer)?.[0] === address ? true : undefined;
    });
  };
  await named('our service', '198.51.100.77');
  const disabled = create(EndpointRecordSchema, { ...record, serviceDisabled: true });
  const hexOut = Buffer.from(toBinary(EndpointRecordSchema, disabled)).toString('hex');
  mate.stdin.write(`put endpointofours ${hexOut}\n`);
  await waitFor('no task of our service', LIMIT_MS, async () => {
    const asked = await docker('exec', before, 'sh', '-c', 'nslookup tasks.elsewhere; true');
    return asked.includes('198.51.100.78') ? undefined : true;
  });
  mate.stdin.write(`delete endpointofours\nput endpointofours ${hex}\n`);
  await waitFor('the task is back', LIMIT_MS, async () => {
    const asked = await docker('exec', before, 'sh', '-c', 'nslookup tasks.elsewhere; true');
    return asked.includes('198.51.100.78') ? true : undefined;
  });
  mate.stdin.write(`put endpointofours ${hexOut}\n`);
  mate.stdin.write('delete endpointofours\n');
  await engineShows('its deletion', /198\.51\.100\.78/, false);
  await named('our service is forgotten', undefined);

  await docker('rm', '-f', before);
  await hears('the removal of the container', {
    type: 'entry-removed',
    table: 'endpoint_table',
    reason: 'deleted',
  });
  mate.stdin.write('leave\n');
  t.match(await hears('the end', { type: 'bye' }), { undecodable: 0 });
  await engineShows('our farewell', /192\.0\.2\.11/, false);
});
