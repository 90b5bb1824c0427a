/** A swarm with everything in it, and `skep import` of it into another, looked at from all sides. */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { type ImportFlags, runImport } from '../../../src/cli/import.js';
import { SkepError } from '../../../src/model/errors.js';
import { waitFor } from '../../testbed/commands.js';
import { dockerRequest } from '../../testbed/http.js';

async function get(socket: string, to: string): Promise<unknown> {
  const answer = await dockerRequest(socket, 'GET', to);
  if (answer.status !== 200) throw new Error(`${to}: ${answer.text}`);
  return answer.body;
}

/** Makes something. @returns its id */
async function make(socket: string, to: string, body: unknown): Promise<string> {
  const answer = await dockerRequest(socket, 'POST', to, body);
  if (answer.status > 201) throw new Error(`${to}: ${answer.text}`);
  const { ID = '', Id = '' } = (answer.body ?? {}) as {
    readonly ID?: string;
    readonly Id?: string;
  };
  return ID || Id;
}

interface Named {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: Record<string, unknown> & { readonly Name: string };
}

async function services(socket: string): Promise<readonly Named[]> {
  const list = (await get(socket, '/services')) as Named[];
  return list.sort((a, b) => (a.Spec.Name < b.Spec.Name ? -1 : 1));
}

const SWARM_ONLY = encodeURIComponent(JSON.stringify({ scope: ['swarm'] }));

async function networks(socket: string): Promise<readonly Record<string, unknown>[]> {
  const list = (await get(socket, `/networks?filters=${SWARM_ONLY}`)) as Record<string, unknown>[];
  return list.sort((a, b) => (String(a['Name']) < String(b['Name']) ? -1 : 1));
}

const data = (text: string) => Buffer.from(text).toString('base64');

/** A swarm with everything in it. */
async function furnish(old: string): Promise<void> {
  const front = await make(old, '/networks/create', {
    Name: 'front',
    Driver: 'overlay',
    Attachable: true,
    Labels: { tier: 'front' },
    Options: { encrypted: '' },
    IPAM: { Config: [{ Subnet: '10.44.0.0/24', Gateway: '10.44.0.7' }] },
  });
  const given = await make(old, '/networks/create', { Name: 'given', Driver: 'overlay' });
  const site = await make(old, '/configs/create', {
    Name: 'site',
    Data: data('page'),
    Templating: { Name: 'golang' },
  });
  const pass = await make(old, '/secrets/create', { Name: 'pass', Data: data('s3cr3t') });
  const TaskTemplate = {
    ContainerSpec: {
      Image: 'web:1',
      Labels: { a: 'b' },
      Env: ['PASSWORD=hunter2'],
      Mounts: [
        { Type: 'volume', Source: 'data', Target: '/data', VolumeOptions: { NoCopy: true } },
        { Type: 'tmpfs', Target: '/tmp', TmpfsOptions: { SizeBytes: 1_048_576 } },
      ],
      StopGracePeriod: 15e9,
      Secrets: [
        { SecretID: pass, SecretName: 'pass', File: { Name: 'p', UID: '1', GID: '2', Mode: 256 } },
      ],
      Configs: [
        { ConfigID: site, ConfigName: 'site', File: { Name: '/s', UID: '0', GID: '0', Mode: 292 } },
      ],
      Healthcheck: { Test: ['CMD', 'true'], Interval: 1e9 },
    },
    Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 67_108_864, Pids: 50 } },
    RestartPolicy: { Condition: 'on-failure', Delay: 2e9, MaxAttempts: 4 },
    Placement: { Constraints: ['node.labels.zone==a'], MaxReplicas: 2 },
    Networks: [{ Target: front, Aliases: ['www'] }, { Target: given }],
    ForceUpdate: 3,
  };
  const UpdateConfig = {
    Parallelism: 2,
    Delay: 1e9,
    FailureAction: 'rollback',
    Order: 'start-first',
  };
  await make(old, '/services/create', {
    Name: 'web',
    Labels: { 'com.docker.stack.namespace': 'shop' },
    TaskTemplate,
    Mode: { Replicated: { Replicas: 4 } },
    UpdateConfig,
    RollbackConfig: { Parallelism: 1, MaxFailureRatio: 0.25 },
    EndpointSpec: {
      Ports: [
        { TargetPort: 80, PublishedPort: 8080 },
        { TargetPort: 81, Protocol: 'udp' },
        { TargetPort: 82, PublishedPort: 82, PublishMode: 'host' },
      ],
    },
  });
  await make(old, '/services/create', {
    Name: 'agent',
    TaskTemplate: { ContainerSpec: { Image: 'agent:1' }, Networks: [{ Target: 'host' }] },
    Mode: { Global: {} },
  });
  const [node] = (await get(old, '/nodes')) as Named[];
  await make(old, `/nodes/${node?.ID}/update?version=${node?.Version.Index}`, {
    ...node?.Spec,
    Labels: { zone: 'a' },
    Availability: 'drain',
  });
  const swarm = (await get(old, '/swarm')) as Named;
  await make(old, `/swarm/update?version=${swarm.Version.Index}`, {
    ...swarm.Spec,
    Labels: { owner: 'ops' },
    Orchestration: { TaskHistoryRetentionLimit: 2 },
    CAConfig: { NodeCertExpiry: 7_200_000_000_000 },
    EncryptionConfig: { AutoLockManagers: true },
  });
  await waitFor('the chosen port', 5000, async () => {
    const web = (await services(old))[1] as unknown as { Endpoint: { Ports?: unknown[] } };
    return web.Endpoint.Ports?.length === 3 ? true : undefined;
  });
}

/** The command in this process: what it printed and how it ended. */
async function run(flags: Partial<ImportFlags> & { readonly from: string }, apiSocket: string) {
  const lines: string[] = [];
  const given = { apiSocket, dryRun: false, secret: [], skip: [], ...flags };
  try {
    const code = await runImport(given, (line) => lines.push(`${line}\n`));
    return { code, stdout: lines.join(''), stderr: '' };
  } catch (error) {
    return { code: 1, stdout: lines.join(''), stderr: SkepError.from(error).message };
  }
}

/** Furnishes one swarm, and takes it over into another. */
export async function takeOver(t: Test, old: string, here: string): Promise<void> {
  for (const socket of [old, here]) {
    await make(socket, '/swarm/init', { ListenAddr: '0.0.0.0:2377' });
    await waitFor('the ingress network', 10_000, async () => {
      return (await networks(socket)).some(({ Name }) => Name === 'ingress') ? true : undefined;
    });
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'skep-import-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const runFrom = (from: string, flags: Partial<ImportFlags> = {}) => run({ ...flags, from }, here);
  await furnish(old);
  const values = path.join(folder, 'values');
  mkdirSync(values);
  const saved = path.join(folder, 'old.json');

  const lacking = await runFrom(old);
  t.equal(lacking.code, 1);
  t.match(lacking.stdout, '? secret pass: its value is needed by web\n');
  t.match(lacking.stdout, '\n+ service web\n');
  t.match(lacking.stdout, 'nothing is changed');
  t.strictSame(await services(here), []);

  const kept = await runFrom(old, { save: saved });
  t.equal(kept.code, 0, kept.stderr);
  t.equal(statSync(saved).mode & 0o777, 0o600);
  const twice = await runFrom(old, { save: saved });
  t.match(twice.stderr, /exists: nothing is replaced/);

  writeFileSync(path.join(values, 'pass'), 's3cr3t');
  writeFileSync(path.join(values, 'other'), 'of another swarm');
  const plan = await runFrom(old, { dryRun: true, secrets: values });
  t.equal(plan.code, 0, plan.stdout + plan.stderr);
  t.equal((await runFrom(saved, { dryRun: true, secrets: values })).stdout, plan.stdout);
  const port = /port (\d+) \(81\/udp\)/.exec(plan.stdout)?.[1];
  t.strictSame(plan.stdout.split('\n').filter(Boolean).sort(), [
    '    a manager there; its role is not taken',
    '    managers are locked there: "docker swarm update --autolock=true" locks them here',
    `    port ${port} (81/udp), chosen by the other swarm, is published as such`,
    '+ config site: 4 bytes',
    '+ network front: subnet 10.44.0.0/24',
    '+ network given: subnet 10.0.1.0/24',
    '+ secret pass: from its file',
    '+ service agent',
    '+ service web',
    '8 to make or change, 1 there already, 0 left out, 0 refused, 0 without a value',
    '= network ingress: is there already',
    '~ node api-host: label zone, availability drain',
    '~ swarm settings: task history limit 2, certificate expiry 7200 s, label owner',
  ]);
  t.strictSame(await services(here), [], 'a dry run changes nothing');

  const done = await runFrom(saved, { secrets: values });
  t.equal(done.code, 0, done.stderr);
  t.match(done.stdout, /made secret pass\n[\s\S]*changed node api-host\nmade service/);
  t.notMatch(done.stdout + done.stderr, /s3cr3t|hunter2/);
  await compare(t, old, here, Number(port));

  const again = await runFrom(old, { secrets: values });
  t.equal(again.code, 0, again.stderr);
  t.match(again.stdout, '0 to make or change, 9 there already, 0 left out');
  t.notMatch(again.stdout, /differs|made |changed/);
  await compare(t, old, here, Number(port));

  writeFileSync(path.join(values, 'pass'), 'another');
  const [, web] = await services(here);
  const update = `/services/${web?.ID}/update?version=${web?.Version.Index}`;
  const fewer = { ...web?.Spec, Mode: { Replicated: { Replicas: 1 } } };
  await make(here, update, fewer);
  const differs = await runFrom(old, { secrets: values });
  t.equal(differs.code, 0, differs.stderr);
  t.match(differs.stdout, '= secret pass: is there already\n    differs here: its value\n');
  t.match(differs.stdout, '    differs here: Mode.Replicated.Replicas\n');
  t.notMatch(differs.stdout, /another\b/);
  t.match((await services(here))[1]?.Spec, { Mode: { Replicated: { Replicas: 1 } } });

  t.match((await runFrom(here)).stderr, /is the swarm of this skepd/);
  await make(old, '/swarm/leave?force=1', undefined);
  t.match((await runFrom(old)).stderr, /\.sock: This node is not a swarm manager/);
}

/** Both swarms have the same, under ids of their own. */
async function compare(t: Test, old: string, here: string, port: number): Promise<void> {
  const named = async (socket: string) => {
    let text = JSON.stringify((await services(socket)).map(({ Spec }) => Spec));
    for (const kind of ['secret', 'config'])
      for (const { ID, Spec } of (await get(socket, `/${kind}s`)) as Named[])
        text = text.replaceAll(ID, `${kind} ${Spec.Name}`);
    const host = (await get(socket, '/networks/host?scope=swarm')) as Record<string, unknown>;
    for (const { Id, Name } of [host, ...(await networks(socket))])
      text = text.replaceAll(String(Id), `network ${String(Name)}`);
    return text;
  };
  const wanted = (await named(old)).replace(
    '"TargetPort":81,"PublishMode"',
    `"TargetPort":81,"PublishedPort":${port},"PublishMode"`,
  );
  t.equal(await named(here), wanted);
  const comparable = async (socket: string) =>
    (await networks(socket)).map(({ Id: _id, Created: _created, Options, ...network }) => {
      const options = { ...(Options as Readonly<Record<string, string>>) };
      delete options['com.docker.network.driver.overlay.vxlanid_list'];
      return { ...network, options };
    });
  t.strictSame(await comparable(here), await comparable(old));
  const [nodesHere, nodesThere] = (await Promise.all([
    get(here, '/nodes'),
    get(old, '/nodes'),
  ])) as [Named[], Named[]];
  t.strictSame(nodesHere[0]?.Spec, nodesThere[0]?.Spec);
  t.match(((await get(here, '/swarm')) as Named).Spec, {
    Labels: { owner: 'ops' },
    Orchestration: { TaskHistoryRetentionLimit: 2 },
    CAConfig: { NodeCertExpiry: 7_200_000_000_000 },
    EncryptionConfig: { AutoLockManagers: false },
  });
}
