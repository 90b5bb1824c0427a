/**
 * One host of the mesh scenario: NodeNetwork with the real data path and real gossip, told what to
 * do over the IPC channel of its parent. It stands in for skepd's agent.
 */
import path from 'node:path';
import Docker from 'dockerode';
import { openDatapath } from '../../../src/native/datapath.js';
import { startGossip } from '../../../src/native/gossip.js';
import { openNetlink } from '../../../src/native/netlink.js';
import { HostWireguardDevices } from '../../../src/network/encryption/host-devices.js';
import { NameKeeper } from '../../../src/network/dns/name-keeper.js';
import { NodeNetwork } from '../../../src/network/node-network.js';
import { createLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { WEB_IMAGE } from '../../testbed/layout.js';
import { attachment, INGRESS, node, overlay, port, webTask } from '../support/swarm-objects.js';
import { fixedIdentity, TestCluster } from '../support/test-cluster.js';

/** What the parent may ask. `number` is the host's, addresses derive from it. */
export type MeshCommand =
  | { readonly kind: 'start'; readonly managers: readonly string[] }
  | { readonly kind: 'run'; readonly slot: number }
  | { readonly kind: 'activate'; readonly slot: number; readonly containerId: string }
  | { readonly kind: 'drain'; readonly slot: number }
  | { readonly kind: 'end'; readonly slot: number; readonly containerId: string }
  | { readonly kind: 'ports'; readonly slot: number; readonly mode: 'ingress' | 'host' }
  | { readonly kind: 'dump' }
  /** Drop and verdict counters, for whoever looks into a failure. */
  | { readonly kind: 'counters' }
  | { readonly kind: 'leave' };

const [, , number = '', address = '', directory = '', bpfDirectory = ''] = process.argv;
const DNS = '169.254.77.53';
const FRONT = overlay('front', 1);
/** Tasks from slot 3 on are on this one only: no default route. */
const BACK = overlay('back', 2, { internal: true });
const engine = new Docker({ socketPath: path.join(directory, 'docker.sock') });
const logger = createLogger({ level: process.env['SKEP_TEST_LOG'] === '1' ? 'debug' : 'warn' });
const datapath = await openDatapath({
  pinDirectory: path.join(bpfDirectory, 'skep'),
  recordFile: path.join(directory, 'network', 'host'),
  underlayInterfaces: ['eth0'],
  tunnelAddress: address,
  tunnelPort: 4789,
  dnsAddress: DNS,
});
const cluster = await TestCluster.create();
const netlink = openNetlink();
const network = new NodeNetwork({
  datapath,
  netlink,
  names: new NameKeeper({
    directory: path.join(directory, 'network', 'names'),
    ...{ clock: systemEnvironment.clock, logger },
  }),
  identity: fixedIdentity(await cluster.identity('host')),
  wireguard: new HostWireguardDevices(netlink),
  startGossip,
  engine,
  attachments: {
    attach: () => Promise.reject(new Error('no attachable networks here')),
    detach: () => Promise.resolve(),
  },
  options: {
    stateDirectory: path.join(directory, 'network'),
    pluginSocket: '/run/docker/plugins/skep.sock',
    tunnelAddress: address,
    gossipBindAddress: '0.0.0.0',
    advertiseAddress: address,
    gossipPort: 7946,
    gossipProfile: 'fast',
    dnsAddress: DNS,
    dnsPort: 53,
    resolvConf: '/dev/null',
  },
  environment: systemEnvironment,
  logger,
});

/** Addresses of task `slot`: .10x on front, .1x on ingress. */
function attachments(slot: number) {
  if (slot > 2) return [attachment(BACK, 100 + slot)];
  return [attachment(FRONT, 100 + slot, ['www']), attachment(INGRESS, 10 + slot)];
}

/** Published on all nodes; the second on the task's node only. */
function ports(mode: 'ingress' | 'host' = 'ingress') {
  return [port(8000, 80, mode), port(9000, 80, 'host')];
}

async function run(slot: number): Promise<string> {
  const task = webTask(slot, '', attachments(slot));
  const networking = await network.prepareTask(attachments(slot), task.taskId);
  const [first, ...others] = networking.endpoints;
  const name = first?.engineNetworkName ?? '';
  const container = await engine.createContainer({
    name: task.taskName,
    Hostname: `web${slot}`,
    Image: WEB_IMAGE,
    HostConfig: { NetworkMode: name, Dns: [...networking.dnsServers] },
    NetworkingConfig: {
      EndpointsConfig: { [name]: { IPAMConfig: { IPv4Address: first?.address ?? '' } } },
    },
  });
  for (const other of others) {
    await engine.getNetwork(other.engineNetworkId).connect({
      Container: container.id,
      EndpointConfig: { IPAMConfig: { IPv4Address: other.address } },
    });
  }
  await container.start();
  return container.id;
}

async function start(managers: readonly string[]): Promise<void> {
  await network.start();
  const own = Number(number);
  const attached = [attachment(INGRESS, 1 + own), attachment(FRONT, 1 + own)];
  await network.configure({
    node: node(`node${number}`, attached),
    keys: [],
    managerAddresses: managers,
    memberAddresses: [],
  });
}

async function obey(command: MeshCommand): Promise<unknown> {
  switch (command.kind) {
    case 'start':
      return await start(command.managers);
    case 'run':
      return await run(command.slot);
    case 'activate': {
      const { slot, containerId } = command;
      return await network.activate(webTask(slot, containerId, attachments(slot), ports()));
    }
    case 'drain':
      return await network.drain(`task${command.slot}`);
    case 'end':
      await engine.getContainer(command.containerId).remove({ force: true });
      return await network.deactivate(`task${command.slot}`);
    case 'ports':
      return await network.republish(
        `task${command.slot}`,
        webTask(command.slot, '', attachments(command.slot), ports(command.mode)),
      );
    case 'dump':
      return datapath.dump();
    case 'counters':
      return datapath.counters().map(({ reason, packets }) => `${reason} ${packets}`);
    case 'leave':
      return await network.leave();
  }
}

process.on('message', (command: MeshCommand) => {
  obey(command).then(
    (result) => process.send?.({ result: result ?? null }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.stack : 'failed' }),
  );
});
process.on('disconnect', () => process.exit());
