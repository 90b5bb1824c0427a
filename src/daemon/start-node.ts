/**
 * The three ways a node comes to life in a swarm: it founds one, joins one, or takes up the one it
 * was in. Each returns a node that is started.
 */
import { mkdirSync } from 'node:fs';
import type { InitRequest, JoinRequest } from '../api/types.js';
import { type NewCluster, newCluster } from '../manager/ca/bootstrap.js';
import { SkepError } from '../model/errors.js';
import { NodeSpec_Availability } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { DEFAULT_TUNNEL_PORT } from '../network/limits.js';
import { joinCluster } from '../rpc/identity/join.js';
import { NodeIdentity } from '../rpc/identity/node-identity.js';
import type { ManagerPeer, TlsIdentity } from '../rpc/types.js';
import { type HostPort, MANAGER_PORT_DEFAULT, splitHostPort } from './addresses.js';
import { foundingNode, newClusterObject } from './new-cluster.js';
import { makeNetwork, portsFree } from './make-network.js';
import type { NodeRecord, NodeState } from './node-state.js';
import { statePaths } from './options.js';
import { RunningManager, type StoreRuntime } from './running-manager.js';
import { type NodeContext, RunningNode } from './running-node.js';
import { bootstrapStore, openStore } from './store-runtime.js';

const RAFT_DATA_KEY_BYTES = 32;

const AVAILABILITY = {
  active: NodeSpec_Availability.ACTIVE,
  pause: NodeSpec_Availability.PAUSE,
  drain: NodeSpec_Availability.DRAIN,
} as const;

/** Makes a new cluster with this node as its manager. */
export async function foundNode(
  context: NodeContext,
  record: NodeRecord,
  request: InitRequest,
  signal: AbortSignal,
): Promise<RunningNode> {
  const { environment, options } = context;
  const cluster = await newCluster({
    env: environment,
    availability: AVAILABILITY[request.availability],
  });
  cluster.node.VXLANUDPPort = record.value.DataPathPort;
  const swarmDirectory = prepareDirectory(options.stateDir);
  const identity = await NodeIdentity.create(swarmDirectory, cluster.identity);
  await identity.setRaftDataKey(environment.random.bytes(RAFT_DATA_KEY_BYTES));
  const runtime = await bootstrapStore(context, identity, record);
  try {
    await createFirstObjects(runtime, cluster, record.value, request);
    signal.throwIfAborted();
    return await startManagerNode(context, record, identity, runtime);
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

async function createFirstObjects(
  runtime: StoreRuntime,
  cluster: NewCluster,
  recorded: NodeState,
  request: InitRequest,
): Promise<void> {
  const object = request.applySpec(
    newClusterObject({
      cluster,
      addressPools: recorded.DefaultAddressPool,
      subnetSize: recorded.SubnetSize,
      dataPathPort: recorded.DataPathPort,
    }),
  );
  await runtime.store.update((write) => {
    write.create('cluster', object);
    write.create('node', foundingNode(cluster.node, runtime.raftId, recorded.AdvertiseAddr));
  });
}

/** Joins the cluster behind the request's first address. */
export async function joinNode(
  context: NodeContext,
  record: NodeRecord,
  request: JoinRequest,
  signal: AbortSignal,
): Promise<RunningNode> {
  const { environment, options, logger } = context;
  const remote = withDefaultPort(record.value.RemoteAddr);
  // Better refused here than found out by the first task: the port is nearly always the default.
  await portsFree(context, options.dataPathPort || DEFAULT_TUNNEL_PORT);
  const tls: TlsIdentity = await joinCluster({
    token: request.joinToken,
    remoteAddrs: [remote],
    availability: request.availability,
    env: environment,
    logger,
    signal,
  });
  const identity = await NodeIdentity.create(prepareDirectory(options.stateDir), tls);
  const managers = [{ nodeId: '', addr: remote }];
  const network = makeNetwork(context, record, identity);
  return await started(new RunningNode({ context, identity, network, managers }));
}

/** Takes up the recorded membership after a restart. */
export async function resumeNode(context: NodeContext, record: NodeRecord): Promise<RunningNode> {
  const identity = await NodeIdentity.load(statePaths(context.options.stateDir).swarm);
  if (identity === undefined)
    throw new SkepError(
      'data_loss',
      'the node certificate is missing: restore the state directory from a backup, or leave with --force and join again',
    );
  if (identity.facts().role === 'manager')
    return await startManagerNode(context, record, identity, await openStore(context, identity));
  const managers = [{ nodeId: '', addr: withDefaultPort(record.value.RemoteAddr) }];
  const network = makeNetwork(context, record, identity);
  return await started(new RunningNode({ context, identity, network, managers }));
}

async function startManagerNode(
  context: NodeContext,
  record: NodeRecord,
  identity: NodeIdentity,
  runtime: StoreRuntime,
): Promise<RunningNode> {
  const { environment, logger } = context;
  const recorded = record.value;
  const advertise = hostPort(recorded.AdvertiseAddr);
  const network = makeNetwork(context, record, identity);
  const manager = new RunningManager({
    runtime,
    identity,
    listen: hostPort(recorded.ListenAddr),
    advertise,
    environment,
    logger: logger.child({ room: 'manager' }),
    silenceMs: (nodeId) => network.silenceMs(nodeId),
  });
  await manager.start();
  try {
    // A manager talks to its own agent over the wire like to any other.
    const self: ManagerPeer = { nodeId: identity.facts().nodeId, addr: recorded.AdvertiseAddr };
    const node = await started(
      new RunningNode({ context, identity, network, managers: [self], manager }),
    );
    await manager.whenReady();
    return node;
  } catch (error) {
    await manager.stop();
    throw error;
  }
}

async function started(node: RunningNode): Promise<RunningNode> {
  try {
    await node.start();
    return node;
  } catch (error) {
    await node.stop();
    throw error;
  }
}

function prepareDirectory(stateDir: string): string {
  const directory = statePaths(stateDir).swarm;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

function hostPort(value: string): HostPort {
  const parts = splitHostPort(value, MANAGER_PORT_DEFAULT);
  if (parts === undefined) throw new SkepError('data_loss', `recorded address ${value} is damaged`);
  return parts;
}

function withDefaultPort(address: string): string {
  const parts = splitHostPort(address, MANAGER_PORT_DEFAULT);
  if (parts === undefined || parts.host === '')
    throw new SkepError(
      'invalid_argument',
      `invalid remoteAddr "${address}": missing port in address`,
    );
  return `${parts.host}:${parts.port}`;
}
