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
import { MANAGER_PORT_DEFAULT, TUNNEL_PORT_DEFAULT } from '../model/swarm-ports.js';
import { joinCluster } from '../rpc/identity/join.js';
import { NodeIdentity } from '../rpc/identity/node-identity.js';
import { RAFT_DATA_KEY_BYTES } from '../rpc/identity/raft-keys.js';
import type { ManagerPeer, TlsIdentity } from '../rpc/types.js';
import { raftStateExists } from '../store/raft-cluster.js';
import { recordedHostPort, splitHostPort, systemAddresses } from './addresses.js';
import type { DeferredNetwork } from './deferred-network.js';
import { KnownManagers } from './known-managers.js';
import { foundingNode, newClusterObject, noteDataPathFamily } from './new-cluster.js';
import { makeNetwork, type NetworkParts, portsFree } from './make-network.js';
import type { NodeRecord, NodeState } from './node-state.js';
import { statePaths } from './options.js';
import { RunningManager } from './running-manager.js';
import { type NodeContext, RunningNode } from './running-node.js';
import { secretSource } from './secret-source.js';
import { bootstrapStore, openStore, type StoreRuntime } from './store-runtime.js';

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
  const parts = nodeParts({ context, record, identity });
  const runtime = await bootstrapStore(parts);
  try {
    await createFirstObjects(runtime, object, cluster, record.value);
    signal.throwIfAborted();
    return await startManagerNode(parts, runtime);
  } catch (error) {
    await runtime.raft.close();
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
  noteDataPathFamily(object, recorded.DataPathAddr);
  object.unlockKeys = unlockKeysFor(object, false, environment.random);
  return object;
}

async function createFirstObjects(
  { raft }: StoreRuntime,
  object: Cluster,
  cluster: NewCluster,
  recorded: NodeState,
): Promise<void> {
  const raftId = BigInt(raft.status().id);
  await raft.store.update((write) => {
    write.create('cluster', object);
    write.create('node', foundingNode(cluster.node, raftId, recorded.AdvertiseAddr));
  });
}

/**
 * Joins the cluster behind the request's first address, in the role that the token gives.
 * @throws SkepError also when the packet side cannot be opened, say since the swarm's is of IPv6
 */
export async function joinNode(
  host: Omit<NetworkParts, 'identity'>,
  request: JoinRequest,
  signal: AbortSignal,
): Promise<RunningNode> {
  const { context, record } = host;
  const { environment, options, logger } = context;
  const remote = withDefaultPort(record.value.RemoteAddr);
  // Better refused here than found out by the first task: the port is nearly always the default.
  await portsFree(context, options.dataPathPort || TUNNEL_PORT_DEFAULT);
  const tls: TlsIdentity = await joinCluster({
    token: request.joinToken,
    remoteAddrs: [remote],
    availability: request.availability,
    env: environment,
    logger,
    signal,
  });
  const identity = await NodeIdentity.create(prepareDirectory(options.stateDir), tls);
  const parts = nodeParts({ ...host, identity });
  const node = makeNode(parts, [{ nodeId: '', addr: remote }]);
  try {
    await node.start({ withManager: false });
    await Promise.race([node.configured(), aborted(signal)]);
    parts.network.requireOpen();
    if (identity.facts().role === 'manager') await node.role.become(signal);
    node.role.follow();
    return node;
  } catch (error) {
    await node.withdraw();
    await node.leave();
    throw error;
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  return await new Promise((_, reject) => {
    const fail = (): void => reject(new SkepError('canceled', 'context canceled'));
    if (signal.aborted) fail();
    signal.addEventListener('abort', fail, { once: true });
  });
}

/**
 * Takes up the recorded membership after a restart.
 * @param opened the unlock key of a locked manager, or the identity if it is in memory already
 */
export async function resumeNode(
  context: NodeContext,
  record: NodeRecord,
  opened?: Uint8Array | NodeIdentity,
): Promise<RunningNode> {
  const directory = statePaths(context.options.stateDir).swarm;
  const identity =
    opened instanceof NodeIdentity ? opened : await NodeIdentity.load(directory, opened);
  if (identity === undefined)
    throw new SkepError(
      'data_loss',
      'the node certificate is missing: restore the state directory from a backup, or leave with --force and join again',
    );
  const parts = nodeParts({ context, record, identity });
  if (identity.facts().role === 'manager') return await resumeManager(parts);
  if (isExpired(identity, context.environment)) throw certificatesExpired();
  const node = makeNode(parts, recordedRemote(record));
  return await started(node, async () => node.start({ withManager: false }));
}

/**
 * Takes everything off this host that a node left here which cannot start, or which is locked: its
 * data path is opened on any address for that. @throws SkepError also when nothing can be opened
 */
export async function leaveStoppedNode(context: NodeContext, record: NodeRecord): Promise<void> {
  const { swarm } = statePaths(context.options.stateDir);
  const isLocked = await NodeIdentity.isLocked(swarm);
  const identity = await (isLocked ? NodeIdentity.loadWithoutKey(swarm) : NodeIdentity.load(swarm));
  if (identity === undefined) return;
  const own = context.netlink.addresses();
  const { address } = systemAddresses(own)[0] ?? { address: '127.0.0.1' };
  const parts = nodeParts({ context, record, identity, dataPathAddress: () => address });
  const node = makeNode(parts, []);
  await node.network.start();
  await node.leave();
}

async function resumeManager(parts: Parts): Promise<RunningNode> {
  checkRaftState(parts);
  const runtime = await openStore(parts);
  try {
    await renewIfExpired(parts.identity, runtime.raft.store, parts.context.environment);
    return await startManagerNode(parts, runtime);
  } catch (error) {
    await runtime.raft.close();
    throw error;
  }
}

/** Starts a manager with its node on a store that is open. */
export async function startManagerNode(parts: Parts, runtime: StoreRuntime): Promise<RunningNode> {
  const { record, identity, address } = parts;
  // A manager talks to its own agent over the wire like to any other.
  const self: ManagerPeer = { nodeId: identity.facts().nodeId, addr: address };
  const manager = makeManager(parts, runtime);
  const node = makeNode(parts, [self, ...recordedRemote(record)], manager);
  return await started(node, async () => {
    await node.start({ withManager: true });
    // Others may be away, and then this one cannot be of use yet; alone, it has no excuse.
    if (manager.isAlone) await manager.whenReady();
  });
}

/** A manager that lost its log can only ask others. @throws SkepError data_loss without others */
function checkRaftState({ context, record, identity }: Parts): void {
  const paths = statePaths(context.options.stateDir);
  if (raftStateExists(paths.raft) || record.value.RemoteAddr !== '') return;
  const { nodeId } = identity.facts();
  const known = new KnownManagers(paths.knownManagers, context.logger).read();
  if (known.some((peer) => peer.nodeId !== nodeId)) return;
  throw new SkepError(
    'data_loss',
    'the raft log of the only known manager is missing: restore the state directory from a backup',
  );
}

/** What a node of this host and its manager are made from. */
export interface Parts {
  readonly context: NodeContext;
  readonly record: NodeRecord;
  readonly identity: NodeIdentity;
  readonly network: DeferredNetwork;
  readonly address: string;
}

/** The parts of this host's node; nothing is started. */
export function nodeParts(host: NetworkParts & { readonly identity: NodeIdentity }): Parts {
  const { context, record, identity } = host;
  const network = makeNetwork(host);
  return { context, record, identity, network, address: record.value.AdvertiseAddr };
}

function makeNode(
  parts: Parts,
  managers: readonly ManagerPeer[],
  manager?: RunningManager,
): RunningNode {
  const { context, identity, network } = parts;
  return new RunningNode({
    context,
    identity,
    network,
    managers,
    openManager: async () => makeManager(parts, await openStore(parts)),
    ownManagerAddr: ownManagerAddr(parts),
    ...(manager === undefined ? {} : { manager }),
  });
}

function makeManager(parts: Parts, runtime: StoreRuntime): RunningManager {
  const { context, record, identity, network } = parts;
  return new RunningManager({
    runtime,
    identity,
    listen: recordedHostPort(record.value.ListenAddr),
    advertise: recordedHostPort(record.value.AdvertiseAddr),
    environment: context.environment,
    logger: context.logger.child({ room: 'manager' }),
    silenceMs: (nodeId) => network.silenceMs(nodeId),
    secretSource: secretSource(context.engine),
  });
}

/** On the address as others know it if the host has it, which is then what the manager sees us by. */
function ownManagerAddr({ context, record }: Parts): string {
  const { ListenAddr, LocalAddr } = record.value;
  const { host, port } = recordedHostPort(ListenAddr);
  if (host !== '0.0.0.0') return ListenAddr;
  const isOwn = context.netlink.addresses().some(({ address }) => address === LocalAddr);
  return `${isOwn ? LocalAddr : '127.0.0.1'}:${port}`;
}

function recordedRemote(record: NodeRecord): readonly ManagerPeer[] {
  const { RemoteAddr } = record.value;
  return RemoteAddr === '' ? [] : [{ nodeId: '', addr: withDefaultPort(RemoteAddr) }];
}

/** The node once `start` has brought it up; follows its role from then on. */
async function started(node: RunningNode, start: () => Promise<void>): Promise<RunningNode> {
  try {
    await start();
    node.role.follow();
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

function withDefaultPort(address: string): string {
  const parts = splitHostPort(address, MANAGER_PORT_DEFAULT);
  if (parts === undefined || parts.host === '')
    throw new SkepError(
      'invalid_argument',
      `invalid remoteAddr "${address}": missing port in address`,
    );
  return `${parts.host}:${parts.port}`;
}
