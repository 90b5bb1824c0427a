/**
 * Scenario, run in namespaces of its own by engine.test.ts: NodeNetwork beside a real Docker
 * Engine. Twin networks, fixed addresses, default routes, names, restart, attachable containers.
 */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import path from 'node:path';
import { decode, encode } from 'dns-packet';
import { SkepError } from '../../../src/model/errors.js';
import { openNetlink } from '../../../src/native/netlink.js';
import { RecordingDatapath } from '../../../src/native/recording-datapath.js';
import { HostWireguardDevices } from '../../../src/network/encryption/host-devices.js';
import { NameKeeper } from '../../../src/network/dns/name-keeper.js';
import { NodeNetwork } from '../../../src/network/node-network.js';
import { PluginServer } from '../../../src/network/plugin/server.js';
import type { AttachmentAllocator, ContainerNetworking } from '../../../src/network/types.js';
import { createLogger, silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { run, waitFor } from '../../testbed/commands.js';
import { WEB_IMAGE } from '../../testbed/layout.js';
import { GossipHub } from '../support/memory-gossip.js';
import { PrivateEngine } from '../support/private-engine.js';
import { attachment, INGRESS, node, overlay, port, webTask } from '../support/swarm-objects.js';
import { fixedIdentity, TestCluster } from '../support/test-cluster.js';

const ROOT = '/var/tmp/skep-network-test/engine';
const PLUGIN_SOCKET = '/run/docker/plugins/skep.sock';
const USER_SERVER = '169.254.77.54';
const NO_SUCH_NAME = 3;
const engine = new PrivateEngine(ROOT);
const datapath = new RecordingDatapath();
const netlink = openNetlink();
const hub = new GossipHub();
const cluster = await TestCluster.create();
const identity = fixedIdentity(await cluster.identity('n1'));
const logger = createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'error' });
const detached: string[] = [];
const attachedFor: string[] = [];

/** Third part of the addresses of the networks that plain containers may join. */
const ATTACHABLE_SUBNETS: Readonly<Record<string, number>> = { labid: 3, sideid: 4, closedid: 5 };

const attachments: AttachmentAllocator = {
  attach(networkId, containerId, addresses) {
    const subnet = ATTACHABLE_SUBNETS[networkId];
    if (subnet === undefined) {
      throw new SkepError('permission_denied', `network ${networkId} not manually attachable`);
    }
    attachedFor.push(containerId);
    const address = addresses[0]?.split('/')[0] ?? `10.0.${subnet}.${20 + attachedFor.length}`;
    return Promise.resolve({ attachmentId: `a${address}`, addresses: [`${address}/24`] });
  },
  detach(attachmentId) {
    detached.push(attachmentId);
    return Promise.resolve();
  },
};

function makeNetwork(): NodeNetwork {
  return new NodeNetwork({
    datapath,
    netlink,
    names: new NameKeeper({
      directory: path.join(ROOT, 'state', 'names'),
      ...{ clock: systemEnvironment.clock, logger },
    }),
    startGossip: hub.start,
    engine: engine.docker,
    attachments,
    identity,
    wireguard: new HostWireguardDevices(netlink),
    options: {
      stateDirectory: path.join(ROOT, 'state'),
      pluginSocket: PLUGIN_SOCKET,
      tunnelAddress: '127.0.0.1',
      gossipBindAddress: '127.0.0.1',
      advertiseAddress: '127.0.0.1',
      gossipPort: 7946,
      gossipProfile: 'fast',
      dnsAddress: '169.254.77.53',
      dnsPort: 53,
      resolvConf: '/dev/null',
    },
    environment: systemEnvironment,
    logger,
  });
}

/** Makes and starts a container the way the agent does. */
async function runTask(name: string, networking: ContainerNetworking): Promise<string> {
  const [first, ...others] = networking.endpoints;
  assert.ok(first);
  const container = await engine.docker.createContainer({
    name,
    Image: WEB_IMAGE,
    Hostname: `host-${name}`,
    HostConfig: { NetworkMode: first.engineNetworkName, Dns: [...networking.dnsServers] },
    NetworkingConfig: {
      EndpointsConfig: {
        [first.engineNetworkName]: { IPAMConfig: { IPv4Address: first.address } },
      },
    },
  });
  for (const other of others) {
    await engine.docker.getNetwork(other.engineNetworkId).connect({
      Container: container.id,
      EndpointConfig: { IPAMConfig: { IPv4Address: other.address } },
    });
  }
  await container.start();
  return container.id;
}

function inside(containerId: string, ...command: string[]): string {
  return execFileSync(
    '/usr/bin/docker',
    ['-H', `unix://${engine.socket}`, 'exec', containerId, ...command],
    {
      encoding: 'utf8',
    },
  );
}

/** A name server of the user's own choice: knows one name, and no other. */
async function startNameServer(): Promise<Socket> {
  execFileSync('ip', ['address', 'add', `${USER_SERVER}/32`, 'dev', 'lo']);
  const server = createSocket('udp4');
  server.on('message', (message, from) => {
    const { id = 0, questions = [] } = decode(message);
    const known = questions[0]?.name === 'elsewhere.example' && questions[0].type === 'A';
    const answers = [
      { type: 'A', name: 'elsewhere.example', ttl: 5, data: '203.0.113.7' },
    ] as const;
    const answer = { type: 'response', id, questions, answers: known ? [...answers] : [] } as const;
    server.send(encode({ ...answer, flags: known ? 0 : NO_SUCH_NAME }), from.port, from.address);
  });
  await new Promise<void>((resolve) => {
    server.bind(53, USER_SERVER, resolve);
  });
  return server;
}

/** Starts a plain container with a name server of its own. */
async function runPlain(name: string, home: string): Promise<string> {
  const container = await engine.docker.createContainer({
    name,
    Image: WEB_IMAGE,
    HostConfig: { NetworkMode: home, Dns: [USER_SERVER] },
  });
  await container.start();
  return container.id;
}

/** Packet filter tables in the network namespace of a container. */
function namespaceRules(containerId: string): string {
  const format = '{{.State.Pid}}';
  const pid = execFileSync('/usr/bin/docker', [
    ...['-H', `unix://${engine.socket}`, 'inspect', '--format', format, containerId],
  ]);
  const namespace = `--net=/proc/${pid.toString().trim()}/ns/net`;
  return execFileSync('nsenter', [namespace, 'nft', 'list', 'tables'], { encoding: 'utf8' });
}

/** The address of `name` in a container, undefined if there is none. */
async function addressIn(containerId: string, name: string): Promise<string | undefined> {
  const command = ['exec', containerId, 'nslookup', '-type=a', name];
  const { stdout } = await run('/usr/bin/docker', ['-H', `unix://${engine.socket}`, ...command]);
  return /Name:.*\nAddress: (\S+)/.exec(stdout)?.[1];
}

/** Waits until `name` has the address in a container. */
async function resolves(containerId: string, name: string, address: string | undefined) {
  await waitFor(`${name} to be ${address}`, 10_000, async () =>
    (await addressIn(containerId, name)) === address ? true : undefined,
  );
}

async function step(name: string, work: () => Promise<void>): Promise<void> {
  const before = performance.now();
  await work();
  console.log(`ok ${name} (${Math.round(performance.now() - before)} ms)`);
}

const front = overlay('front', 1);
const back = overlay('back', 2, { internal: true });
const lab = overlay('lab', 3, { attachable: true });
const SELF = node('node1', [attachment(INGRESS, 2), attachment(front, 3)]);
const config = { node: SELF, keys: [], managerAddresses: ['127.0.0.1'], memberAddresses: [] };
const taskAttachments = [
  attachment(back, 5),
  attachment(front, 5, ['www']),
  attachment(INGRESS, 5),
];

async function scenario(): Promise<void> {
  execFileSync('ip', ['address', 'add', '169.254.77.53/32', 'dev', 'lo']);
  await engine.prepare();
  await engine.start();
  await engine.importImage();
  let network = makeNetwork();
  let containerId = '';
  let plainId = '';
  let late = '';

  await step('starts and is told its cluster', async () => {
    await network.start();
    await network.configure(config);
    assert.equal(datapath.nodeId, '10.0.0.2');
    const nodeAddresses = datapath.dump().networks.map((row) => row.nodeAddress);
    assert.deepEqual(nodeAddresses, ['10.0.0.2', '10.0.1.3']);
  });

  await step('hostile calls on the plugin socket are refused', async () => {
    const id = 'ab'.repeat(32);
    const calls: readonly (readonly [string, object, RegExp])[] = [
      ['IpamDriver.RequestPool', { Pool: '10.0.1.0/24' }, /made by the swarm/],
      ['IpamDriver.RequestPool', { Pool: 7 }, /Pool is not a text/],
      ['IpamDriver.RequestPool', { Options: ['x'] }, /Options is not an object/],
      ['IpamDriver.RequestAddress', { PoolID: 'x/y' }, /unknown address pool/],
      [
        'IpamDriver.RequestAddress',
        { PoolID: 'frontid/10.0.1.0/24', Address: '10.9.9.9' },
        /not in/,
      ],
      ['IpamDriver.ReleaseAddress', { PoolID: 'frontid/10.0.1.0/24' }, /Address is missing/],
      ['NetworkDriver.CreateNetwork', { NetworkID: id }, /made by the swarm/],
      ['NetworkDriver.CreateEndpoint', { NetworkID: id, EndpointID: '../../x' }, /malformed/],
      ['NetworkDriver.CreateEndpoint', { NetworkID: id, EndpointID: id }, /unknown network/],
      ['NetworkDriver.Join', { NetworkID: id, EndpointID: id }, /unknown endpoint/],
      ['NetworkDriver.Join', {}, /EndpointID is missing/],
    ];
    for (const [method, body, wanted] of calls) {
      const { stdout } = await run('curl', [
        ...['-sS', '--unix-socket', PLUGIN_SOCKET, '-d', JSON.stringify(body)],
        `http://plugin/${method}`,
      ]);
      assert.match(stdout, wanted, method);
    }
    assert.deepEqual(datapath.links(), []);
  });

  await step('a task on three networks has its addresses and one default route', async () => {
    const networking = await network.prepareTask(taskAttachments, 'task1');
    assert.deepEqual(
      networking.endpoints.map((each) => [each.engineNetworkName, each.address]),
      [
        ['back', '10.0.2.5'],
        ['front', '10.0.1.5'],
        ['ingress', '10.0.0.5'],
      ],
    );
    const again = await network.prepareTask(taskAttachments, 'task1');
    assert.deepEqual(again, networking);
    containerId = await runTask('web.1.task1', networking);
    const links = datapath.links();
    assert.deepEqual(links.map(({ address, vni, mac }) => `${address} ${vni} ${mac}`).toSorted(), [
      '10.0.0.5 4096 02:42:0a:00:00:05',
      '10.0.1.5 4097 02:42:0a:00:01:05',
      '10.0.2.5 4098 02:42:0a:00:02:05',
    ]);
    const devices = new Set(netlink.linkNames());
    assert.ok(links.every((each) => devices.has(each.interfaceName)));
    const routes = inside(containerId, 'ip', 'route');
    assert.equal(routes.match(/^default via 10\.0\.0\.1 /gm)?.length, 1, routes);
    assert.equal(routes.match(/^default/gm)?.length, 1, routes);
    const addresses = inside(containerId, 'ip', 'address');
    assert.match(addresses, /mtu 1450/);
    assert.match(addresses, /02:42:0a:00:01:05/);
    const details = await engine.docker.getContainer(containerId).inspect();
    assert.equal(details.NetworkSettings.Networks['front']?.IPAddress, '10.0.1.5');
    assert.equal(details.NetworkSettings.Networks['back']?.IPAddress, '10.0.2.5');
    assert.match(inside(containerId, 'cat', '/etc/resolv.conf'), /127\.0\.0\.11/);
  });

  await step('activation makes names, balancers and announcements', async () => {
    const ports = [port(8000, 80, 'ingress'), port(9000, 81, 'host')];
    await network.activate(webTask(1, containerId, taskAttachments, ports));
    const { services, backends } = datapath.dump();
    const lines = services.map((row) =>
      JSON.stringify([row.key, row.targetPort ?? 0, row.backends]),
    );
    assert.deepEqual(lines.sort(), [
      '[{"kind":"published","protocol":"tcp","port":8000},80,[{"vni":4096,"address":"10.0.0.5"}]]',
      '[{"kind":"published","protocol":"tcp","port":9000},81,[{"vni":4096,"address":"10.0.0.5"}]]',
      '[{"kind":"vip","vni":4097,"address":"10.0.1.200"},0,[{"vni":4097,"address":"10.0.1.5"}]]',
      '[{"kind":"vip","vni":4098,"address":"10.0.2.200"},0,[{"vni":4098,"address":"10.0.2.5"}]]',
    ]);
    assert.ok(backends.every((row) => row.state === 'active' && row.tunnelAddress === undefined));
    const tables = [...hub.entries.values()]
      .map((each) => `${each.networkId} ${each.table}`)
      .sort();
    assert.deepEqual(tables, [
      'backid endpoint_table',
      'backid overlay_peer_table',
      'frontid endpoint_table',
      'frontid overlay_peer_table',
      'frontid overlay_peer_table',
      'ingressid endpoint_table',
      'ingressid overlay_peer_table',
      'ingressid overlay_peer_table',
    ]);
  });

  await step('a task that is not ready is out of traffic, also after a restart', async () => {
    const served = () => {
      const { services, backends } = datapath.dump();
      const states = new Set(backends.map(({ state }) => state));
      return [[...states], services.flatMap((row) => row.backends).length];
    };
    await network.setReadiness('nobody', 'is here');
    await network.setReadiness('task1', 'it says so');
    assert.deepEqual(served(), [['draining'], 0]);
    assert.deepEqual(network.sight.unready(), [
      {
        ...{ taskId: 'task1', taskName: 'web.1.task1', serviceName: 'web' },
        ...{ addresses: ['10.0.2.5', '10.0.1.5', '10.0.0.5'], reason: 'it says so' },
      },
    ]);
    await network.stop();
    network = makeNetwork();
    await network.start();
    await network.configure(config);
    const ports = [port(8000, 80, 'ingress'), port(9000, 81, 'host')];
    await network.activate(webTask(1, containerId, taskAttachments, ports));
    assert.deepEqual(served(), [['draining'], 0]);
    await network.setReadiness('task1', undefined);
    assert.deepEqual(served(), [['active'], 4]);
    assert.deepEqual(network.sight.unready(), []);
  });

  await step('a restarted process takes everything over', async () => {
    const before = JSON.stringify(datapath.dump());
    const announced = [...hub.entries.keys()].sort();
    const calls = datapath.calls.length;
    await network.stop();
    hub.entries.clear();
    network = makeNetwork();
    await network.start();
    assert.equal(JSON.stringify(datapath.dump()), before);
    await network.configure(config);
    assert.equal(JSON.stringify(datapath.dump()), before);
    assert.deepEqual([...hub.entries.keys()].sort(), announced);
    const since = datapath.calls.slice(calls);
    assert.deepEqual(since, ['close', 'setNodeId 10.0.0.2'], 'nothing but the node id is written');
  });

  await step('a lost state file is rebuilt from the engine and the links', async () => {
    await network.stop();
    execFileSync('rm', [path.join(ROOT, 'state', 'network.json')]);
    network = makeNetwork();
    await network.start();
    await network.configure(config);
    assert.equal(datapath.links().length, 3);
    assert.equal(datapath.dump().services.length, 4, 'kept until the tables are refilled');
    const ports = [port(8000, 80, 'ingress')];
    await network.activate(webTask(1, containerId, taskAttachments, ports));
    assert.equal(datapath.dump().backends.length, 3);
  });

  await step('an engine restart keeps the endpoints', async () => {
    await engine.stop();
    await engine.start();
    const details = await engine.docker.getContainer(containerId).inspect();
    assert.equal(details.State.Running, true);
    assert.equal(details.NetworkSettings.Networks['front']?.IPAddress, '10.0.1.5');
    assert.equal(datapath.links().length, 3);
  });

  await step('draining and the end of the task take it out', async () => {
    await network.drain('task1');
    const { services, backends } = datapath.dump();
    assert.ok(backends.every((row) => row.state === 'draining'));
    const rows = services.filter((row) => row.key.kind === 'vip' || row.key.port === 8000);
    assert.ok(rows.every((row) => row.backends.length === 0));
    await engine.docker.getContainer(containerId).stop({ t: 0 });
    assert.deepEqual(datapath.links(), []);
    await network.deactivate('task1');
    const twins = await engine.docker.listNetworks({ filters: { driver: ['skep'] } });
    assert.deepEqual(
      twins.map(({ Name }) => Name),
      [],
    );
    assert.deepEqual(
      netlink.linkNames().filter((name) => name.startsWith('sk')),
      [],
    );
    await engine.docker.getContainer(containerId).remove({ force: true });
  });

  await step('a plain container on an attachable network', async () => {
    const id = await network.ensureAttachable(lab);
    assert.equal(await network.ensureAttachable(lab), id);
    const container = await engine.docker.createContainer({
      name: 'plain',
      Image: WEB_IMAGE,
      HostConfig: { NetworkMode: 'lab' },
      NetworkingConfig: { EndpointsConfig: { lab: { Aliases: ['nick'] } } },
    });
    await container.start();
    plainId = container.id;
    assert.deepEqual(attachedFor, [plainId], 'the manager hears which container it is');
    assert.match(inside(plainId, 'ip', 'route'), /default via 10\.0\.3\.1/);
    await waitFor('the container to be announced', 10_000, () => {
      const found = [...hub.entries.values()].find((each) => each.table === 'endpoint_table');
      const text = Buffer.from(found?.value ?? []).toString('latin1');
      return Promise.resolve(text.includes('plain') && text.includes('nick') ? true : undefined);
    });
    await container.restart({ t: 0 });
    assert.equal(attachedFor.length, 2);
    await container.remove({ force: true });
    assert.deepEqual(datapath.links(), []);
    await waitFor('the leases to be given back', 5000, () =>
      Promise.resolve(detached.length === 2 ? true : undefined),
    );
  });

  await step('names work in a container that joins later, and go when it leaves', async () => {
    const { docker } = engine;
    await startNameServer();
    await docker.createNetwork({ Name: 'home' });
    await runPlain('neighbour', 'home');
    late = await runPlain('late', 'home');
    const home = await addressIn(late, 'neighbour');
    assert.match(home ?? '', /^172\./, 'the engine answers names of its own networks');
    const served = [attachment(lab, 5)];
    const task = await runTask('web.1.task1', await network.prepareTask(served, 'task1'));
    await network.activate(webTask(1, task, served));
    assert.equal(await addressIn(late, 'web'), undefined);
    const before = namespaceRules(late);
    const twin = docker.getNetwork(await network.ensureAttachable(lab));
    await twin.connect({ Container: late, EndpointConfig: { Aliases: ['nick'] } });
    assert.equal(await addressIn(late, 'web'), '10.0.3.200', 'at once');
    assert.equal(await addressIn(late, 'tasks.web'), '10.0.3.5');
    assert.equal(
      await addressIn(late, 'neighbour'),
      home,
      'the engine still answers its own names',
    );
    const own = (await docker.getContainer(late).inspect()).NetworkSettings.Networks['lab'];
    await resolves(late, 'nick', own?.IPAddress);
    await twin.disconnect({ Container: late });
    assert.equal(await addressIn(late, 'web'), undefined, 'gone at once');
    assert.equal(await addressIn(late, 'neighbour'), home);
    await waitFor('the redirection to go', 5000, () =>
      Promise.resolve(namespaceRules(late) === before ? true : undefined),
    );
    await twin.connect({ Container: late });
    assert.equal(await addressIn(late, 'web'), '10.0.3.200', 'and back');
  });

  await step('they survive restarts of container, engine and this process', async () => {
    const container = engine.docker.getContainer(late);
    await container.restart({ t: 0 });
    assert.equal(await addressIn(late, 'web'), '10.0.3.200', 'before the first process can ask');
    await engine.stop();
    await engine.start();
    assert.equal(await addressIn(late, 'web'), '10.0.3.200');
    assert.match((await addressIn(late, 'neighbour')) ?? '', /^172\./);
    await network.stop();
    assert.equal(await addressIn(late, 'web'), '10.0.3.200', 'also while skepd is away');
    assert.match((await addressIn(late, 'neighbour')) ?? '', /^172\./);
    network = makeNetwork();
    await network.start();
    await network.configure(config);
    assert.equal(await addressIn(late, 'web'), '10.0.3.200');
  });

  await step(
    'a container that leaves the network of its default route keeps a way out',
    async () => {
      const { docker } = engine;
      const mover = await runPlain('mover', 'lab');
      const side = await network.ensureAttachable(overlay('side', 4, { attachable: true }));
      const options = { attachable: true, internal: true };
      const closed = await network.ensureAttachable(overlay('closed', 5, options));
      const lan = await network.ensureAttachable(lab);
      const connect = (id: string) => docker.getNetwork(id).connect({ Container: mover });
      const disconnect = (id: string) => docker.getNetwork(id).disconnect({ Container: mover });
      const routes = () => inside(mover, 'ip', 'route').match(/^(default via \S+|169\.254\S+)/gm);
      await connect(side);
      assert.deepEqual(routes(), ['default via 10.0.3.1']);
      await disconnect(lan);
      assert.deepEqual(routes(), ['default via 10.0.4.1']);
      await connect(lan);
      await disconnect(side);
      assert.deepEqual(routes(), ['default via 10.0.3.1']);
      await connect(closed);
      await disconnect(lan);
      assert.deepEqual(routes(), ['169.254.77.53'], 'the name server, and nothing outside');
      assert.equal(await addressIn(mover, 'web'), undefined);
      await connect(lan);
      assert.deepEqual(routes()?.slice(0, 1), ['default via 10.0.3.1']);
      assert.equal(await addressIn(mover, 'web'), '10.0.3.200');
      await docker.getContainer(mover).remove({ force: true });
    },
  );

  await step('what containers lost while this process was away is forgotten', async () => {
    const { docker } = engine;
    const kept = datapath.links().map(({ interfaceName }) => interfaceName);
    const gone = await runPlain('gone', 'lab');
    await docker.createNetwork({ Name: 'aside' });
    const left = await runPlain('left', 'aside');
    const twin = docker.getNetwork(await network.ensureAttachable(lab));
    await twin.connect({ Container: left });
    for (const id of [gone, left]) {
      const { NetworkSettings } = await docker.getContainer(id).inspect();
      await resolves(late, id.slice(0, 12), NetworkSettings.Networks['lab']?.IPAddress);
    }
    assert.equal(datapath.links().length, kept.length + 2);
    await network.stop();
    // Nobody who knows anything: with no socket at all the engine would try each call for half a minute.
    const nobody = new PluginServer(PLUGIN_SOCKET, new Map(), silentLogger);
    await nobody.start();
    await docker.getContainer(gone).remove({ force: true });
    await twin.disconnect({ Container: left, Force: true });
    await nobody.stop();
    network = makeNetwork();
    await network.start();
    await network.configure(config);
    assert.deepEqual(
      datapath.links().map(({ interfaceName }) => interfaceName),
      kept,
    );
    assert.deepEqual(
      netlink
        .linkNames()
        .filter((name) => name.startsWith('sk'))
        .toSorted(),
      kept.toSorted(),
    );
    for (const id of [gone, left]) await resolves(late, id.slice(0, 12), undefined);
    assert.equal(await addressIn(late, 'web'), '10.0.3.200');
    await docker.getContainer(left).remove({ force: true });
  });

  await step('a container keeps its own name servers for all other names', async () => {
    const own = await runPlain('own', 'lab');
    assert.equal(await addressIn(own, 'web'), '10.0.3.200');
    const { HostConfig } = await engine.docker.getContainer(own).inspect();
    assert.deepEqual(HostConfig.Dns, [USER_SERVER]);
    assert.equal(await addressIn(late, 'elsewhere.example'), '203.0.113.7');
    await network.drain('task1');
    assert.equal(await addressIn(late, 'web'), undefined);
    for (const name of ['own', 'late', 'neighbour', 'web.1.task1']) {
      await engine.docker.getContainer(name).remove({ force: true });
    }
    await network.deactivate('task1');
    assert.deepEqual(datapath.links(), []);
  });

  await step('refusals reach the user of the engine', async () => {
    await assert.rejects(
      engine.docker.createNetwork({ Name: 'mine', Driver: 'skep' }),
      /skep networks are made by the swarm|Invalid|invalid/,
    );
    await assert.rejects(
      network.ensureAttachable(overlay('closed', 7)),
      /network closed not manually attachable/,
    );
    await engine.docker.createNetwork({ Name: 'taken', Driver: 'null' }).catch(() => undefined);
  });

  await step('a network made again under its name replaces the idle twin', async () => {
    const first = await network.ensureAttachable(overlay('again', 8, { attachable: true }));
    const other = overlay('again', 9, { attachable: true });
    other.id = 'anotherid';
    const second = await network.ensureAttachable(other);
    assert.notEqual(first, second);
    const twins = await engine.docker.listNetworks({ filters: { name: ['again'] } });
    assert.deepEqual(
      twins.map(({ Id }) => Id),
      [second],
    );
  });

  await step('leaving removes everything', async () => {
    await network.leave();
    assert.ok(datapath.destroyed);
    const twins = await engine.docker.listNetworks({ filters: { driver: ['skep'] } });
    assert.deepEqual(twins, []);
  });
}

try {
  await scenario();
  console.log('scenario passed');
} catch (error) {
  console.log('scenario failed', error);
  process.exitCode = 1;
} finally {
  await engine.cleanUp();
  process.exit();
}
