/**
 * The three ways a node comes to life in a swarm: it founds one, joins one, or takes up the one it
 * was in. Each returns a node that is started.
 */
import { mkdirSync } from 'node:fs';
import type { InitRequest, JoinRequest } from '../api/types.js';
import { type NewCluster, newCluster } from '../manager/ca/bootstrap.js';
import { certificatesExpired, isExpired, renewIfExpired } from '../manager/ca/expired.js';
import { managerUnlockKey, unlockKeysFor } from '../manager/ca/unlock-keys.js';
import { SkepError } from '../model/errors.js';
import type { Cluster } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { DEFAULT_TUNNEL_PORT } from '../network/limits.js';
import { joinCluster } from '../rpc/identity/join.js';
import { NodeIdentity } from '../rpc/identity/node-identity.js';
import { RAFT_DATA_KEY_BYTES } from '../rpc/identity/raft-keys.js';
import type { ManagerPeer, TlsIdentity } from '../rpc/types.js';
import { type HostPort, MANAGER_PORT_DEFAULT, splitHostPort } from './addresses.js';
import { foundingNode, newClusterObject } from './new-cluster.js';
import { makeNetwork, portsFree } from './make-network.js';
import type { NodeRecord, NodeState } from './node-state.js';
import { statePaths } from './options.js';
import { RunningManager, type StoreRuntime } from './running-manager.js';
import { type NodeContext, RunningNode } from './running-node.js';
import { bootstrapStore, openStore } from './store-runtime.js';

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
  const object = firstCluster(context, cluster, record.value, request);
  const identity = await NodeIdentity.create(prepareDirectory(options.stateDir), cluster.identity, {
    raftDataKey: environment.random.bytes(RAFT_DATA_KEY_BYTES),
    unlockKey: managerUnlockKey(object),
  });
  const runtime = await bootstrapStore(context, identity, record);
  try {
    await createFirstObjects(runtime, object, cluster, record.value);
    signal.throwIfAborted();
    return await startManagerNode(context, record, identity, runtime);
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

/** The cluster object as the user wants it, with an unlock key if managers are to lock. */
function firstCluster(
  { environment }: NodeContext,
  cluster: NewCluster,
  recorded: NodeState,
  request: InitRequest,
): Cluster {
  const object = request.applySpec(
    newClusterObject({
      cluster,
      addressPools: recorded.DefaultAddressPool,
      subnetSize: recorded.SubnetSize,
      dataPathPort: recorded.DataPathPort,
    }),
  );
  object.unlockKeys = unlockKeysFor(object, false, environment.random);
  return object;
}

async function createFirstObjects(
  runtime: StoreRuntime,
  object: Cluster,
  cluster: NewCluster,
  recorded: NodeState,
): Promise<void> {
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

/** Takes up the recorded membership after a restart; `unlockKey` opens a locked manager. */
export async function resumeNode(
  context: NodeContext,
  record: NodeRecord,
  unlockKey?: Uint8Array,
): Promise<RunningNode> {
  const directory = statePaths(context.options.stateDir).swarm;
  const identity = await NodeIdentity.load(directory, unlockKey);
  if (identity === undefined)
    throw new SkepError(
      'data_loss',
      'the node certificate is missing: restore the state directory from a backup, or leave with --force and join again',
    );
  if (identity.facts().role === 'manager') return await resumeManager(context, record, identity);
  if (isExpired(identity, context.environment)) throw certificatesExpired();
  const managers = [{ nodeId: '', addr: withDefaultPort(record.value.RemoteAddr) }];
  const network = makeNetwork(context, record, identity);
  return await started(new RunningNode({ context, identity, network, managers }));
}

async function resumeManager(
  context: NodeContext,
  record: NodeRecord,
  identity: NodeIdentity,
): Promise<RunningNode> {
  const runtime = await openStore(context, identity);
  try {
    await renewIfExpired(identity, runtime.store, context.environment);
    return await startManagerNode(context, record, identity, runtime);
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

/** Starts a manager with its node on a store that is open; closes neither when it fails. */
export async function startManagerNode(
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
