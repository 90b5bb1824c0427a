/**
 * This host's place in a swarm: in none, in one, or on the way. Implements what the Docker API asks
 * for; the node itself, with its agent and perhaps a manager, is a RunningNode.
 */
import { rmSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import type {
  InitRequest,
  JoinRequest,
  LocalNodeState,
  ManagerAccess,
  SwarmMembership,
  SwarmStatus,
} from '../api/types.js';
import { alreadyInSwarm, locked, noManager } from '../api/swarm-errors.js';
import { certificatesExpired } from '../manager/ca/expired.js';
import { managerUnlockKey } from '../manager/ca/unlock-keys.js';
import { SkepError } from '../model/errors.js';
import type { Timer } from '../model/environment.js';
import type { Network } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { NetworkSight, NodeNetworking } from '../network/types.js';
import { NodeIdentity } from '../rpc/identity/node-identity.js';
import { formatUnlockKey, parseUnlockKey } from '../rpc/identity/unlock-key.js';
import { ADDRESSES_SETTLE_MS, AddressWatch } from './address-watch.js';
import { writeBackup } from './backup.js';
import { dataPathFamily } from './data-path.js';
import { forceNewCluster } from './force-new-cluster.js';
import { initState, joinState } from './first-state.js';
import { presentState } from './moved-state.js';
import type { LateAttachments } from './late-attachments.js';
import { NodeRecord, type NodeState, readNodeState } from './node-state.js';
import { statePaths } from './options.js';
import type { NodeContext, RunningNode } from './running-node.js';
import { foundNode, joinNode, leaveStoppedNode, resumeNode } from './start-node.js';
import {
  invalidUnlockKey,
  joinTimeout,
  lockedManagerLeaves,
  managerLeaves,
  mayPass,
  notAManager,
  notInSwarm,
} from './swarm-errors.js';

/** What kept a node from starting is looked at again so often. */
const RESUME_RETRY_MS = 2_000;
/** Docker gives a join this long before it goes on in the background. */
const JOIN_TIMEOUT_MS = 20_000;

type State =
  | { readonly kind: 'inactive' }
  /** Init or join under way. */
  | { readonly kind: 'pending'; readonly abort: AbortController }
  | { readonly kind: 'active'; readonly node: RunningNode; readonly record: NodeRecord }
  /** A manager whose keys are encrypted: it waits for the unlock key. */
  | { readonly kind: 'locked'; readonly record: NodeRecord }
  /** In a swarm by its files, but it could not be started. */
  | { readonly kind: 'error'; readonly error: string; readonly record: NodeRecord };

/** The node's membership, from start to stop of the daemon. */
export class SwarmNode implements SwarmMembership {
  readonly attachments: LateAttachments;
  private state: State = { kind: 'inactive' };
  private retry: Timer | undefined;
  private resuming: Promise<void> | undefined;
  private readonly bornMs: number;
  private readonly addressWatch: AddressWatch;

  constructor(private readonly context: NodeContext) {
    const { clock } = context.environment;
    this.attachments = context.attachments;
    this.bornMs = clock.monotonicMs();
    this.addressWatch = new AddressWatch({
      clock,
      recorded: () => (this.state.kind === 'active' ? this.state.record.value : undefined),
      present: (recorded) => {
        try {
          return presentState(context, recorded, true);
        } catch {
          return recorded; // Without a route, say, the address cannot be told: looked at again next time.
        }
      },
      onMoved: () => this.followAddresses(),
    });
    this.addressWatch.start();
  }

  /** Takes up the membership recorded on disk, if any; a node that cannot start says why in `status`. */
  async start(): Promise<void> {
    const paths = statePaths(this.context.options.stateDir);
    const recorded = readNodeState(paths.nodeState);
    if (recorded === undefined) {
      // Left over from an init or join that did not get far enough to count.
      rmSync(paths.swarm, { recursive: true, force: true });
      return;
    }
    const record = new NodeRecord(paths.nodeState, recorded, { committed: true });
    if (await NodeIdentity.isLocked(paths.swarm)) {
      this.context.logger.warn({}, 'this manager is locked: it waits for `docker swarm unlock`');
      this.state = { kind: 'locked', record };
      return;
    }
    await this.resume(record, async () => this.takeUp(record));
  }

  /** `opened`: the unlock key of a locked manager, or the identity of a node that ran before. */
  private async takeUp(
    record: NodeRecord,
    opened?: Uint8Array | NodeIdentity,
  ): Promise<RunningNode> {
    const sinceMs = this.context.environment.clock.monotonicMs() - this.bornMs;
    const before = record.value;
    const now = presentState(this.context, before, sinceMs >= ADDRESSES_SETTLE_MS);
    if (!isDeepStrictEqual(now, before)) {
      const fields = { from: before.LocalAddr, to: now.LocalAddr, dataPath: now.DataPathAddr };
      this.context.logger.warn(fields, 'this host has another address than before');
      record.relocate(now);
    }
    return await resumeNode(this.context, record, opened);
  }

  /** The host has other addresses: the node goes on under them, as after a restart of skepd. */
  private followAddresses(): void {
    const { state } = this;
    if (state.kind !== 'active') return;
    const { node, record } = state;
    this.state = { kind: 'error', error: 'this host has another address than before', record };
    this.resuming = node
      .stop()
      .then(() => this.resume(record, async () => this.takeUp(record, node.identity)))
      .catch((error: unknown) => this.cannotResume(error, record))
      .finally(() => {
        this.resuming = undefined;
      });
  }

  /** Takes the membership up; what the host lacks now, say an address, may be there soon. */
  private async resume(record: NodeRecord, open: () => Promise<RunningNode>): Promise<void> {
    try {
      const node = await open();
      this.state = { kind: 'active', node, record };
    } catch (error) {
      this.cannotResume(error, record);
      if (mayPass(error)) this.resumeLater(record, open);
    }
  }

  private resumeLater(record: NodeRecord, open: () => Promise<RunningNode>): void {
    this.retry = this.context.environment.clock.setTimer(RESUME_RETRY_MS, () => {
      this.retry = undefined;
      this.resuming = this.resume(record, open).finally(() => {
        this.resuming = undefined;
      });
    });
  }

  /** No further try; resolves once none is under way. */
  private async stopRetrying(): Promise<void> {
    this.retry?.cancel();
    await this.resuming;
    this.retry?.cancel();
    this.retry = undefined;
  }

  private cannotResume(error: unknown, record: NodeRecord): void {
    const { message } = SkepError.from(error);
    const isKnown = this.state.kind === 'error' && this.state.error === message;
    if (!isKnown)
      this.context.logger.error({ error: message }, 'this node cannot take up its swarm');
    this.state = { kind: 'error', error: message, record };
  }

  /** Stops node and manager; containers and packets go on. */
  async stop(): Promise<void> {
    this.addressWatch.stop();
    await this.stopRetrying();
    if (this.state.kind === 'pending') this.state.abort.abort();
    if (this.state.kind === 'active') await this.state.node.stop();
  }

  get network(): NodeNetworking {
    if (this.state.kind !== 'active') throw notInSwarm();
    return this.state.node.network;
  }

  get sight(): NetworkSight {
    if (this.state.kind !== 'active') throw notInSwarm();
    return this.state.node.network.sight;
  }

  /** An attachable network by name or id; undefined when there is none or no swarm. */
  async findAttachable(nameOrId: string): Promise<Network | undefined> {
    if (this.state.kind !== 'active') return undefined;
    return await this.attachments.find(nameOrId);
  }

  status(): SwarmStatus {
    const none = {
      nodeId: '',
      nodeAddr: '',
      controlAvailable: false,
      error: '',
      remoteManagers: [],
    };
    switch (this.state.kind) {
      case 'inactive':
        return { ...none, state: 'inactive' };
      case 'pending':
        return { ...none, state: 'pending' };
      case 'error':
        return { ...none, state: 'error', error: this.state.error };
      case 'locked':
        return { ...none, state: 'locked', error: locked().message };
      case 'active': {
        const { node, record } = this.state;
        const state: LocalNodeState = node.isRegistered() ? 'active' : 'pending';
        return {
          state: node.manager?.isReady() === true ? 'active' : state,
          nodeId: node.nodeId,
          nodeAddr: record.value.LocalAddr,
          controlAvailable: node.manager?.isReady() === true,
          error: '',
          remoteManagers: node.remoteManagers(),
        };
      }
    }
  }

  async init(request: InitRequest): Promise<string> {
    if (this.state.kind !== 'inactive') {
      if (!request.forceNewCluster) throw alreadyInSwarm();
      return await this.forceNewCluster(request);
    }
    const record = this.newRecord(initState(this.context, request));
    const node = await this.enter((signal) => foundNode(this.context, record, request, signal));
    this.become(node, record);
    return node.nodeId;
  }

  /** @throws SkepError unavailable on a worker or a locked manager */
  private async forceNewCluster(request: InitRequest): Promise<string> {
    await this.stopRetrying();
    const { state, context } = this;
    if (state.kind === 'inactive' || state.kind === 'pending') throw notAManager();
    if (state.kind === 'locked') throw locked();
    const identity =
      state.kind === 'active'
        ? state.node.identity
        : await NodeIdentity.load(statePaths(context.options.stateDir).swarm);
    if (identity?.facts().role !== 'manager') throw notAManager();
    const { DefaultAddressPool, SubnetSize, DataPathPort, DataPathAddr } = state.record.value;
    const dataPathAddr = request.dataPathAddr || this.stillOwn(DataPathAddr);
    const family = dataPathFamily(DataPathAddr);
    const forced = initState(context, { ...request, dataPathAddr }, family);
    // The address of before was kept, not given now.
    const wished = request.dataPathAddr || (state.record.value.Requested?.DataPathAddr ?? '');
    const Requested = { ...forced.Requested, DataPathAddr: wished };
    const recorded = { ...forced, DefaultAddressPool, SubnetSize, DataPathPort, Requested };
    const record = this.newRecord(recorded);
    this.state = { kind: 'pending', abort: new AbortController() };
    try {
      if (state.kind === 'active') await state.node.stop();
      const node = await forceNewCluster(context, record, identity, request);
      this.become(node, record);
      return node.nodeId;
    } catch (error) {
      this.cannotResume(error, state.record);
      throw error;
    }
  }

  async join(request: JoinRequest): Promise<void> {
    if (this.state.kind !== 'inactive') throw alreadyInSwarm();
    const { state, dataPathAddress } = joinState(this.context, request);
    const record = this.newRecord(state);
    const joining = this.enter((signal) =>
      joinNode({ context: this.context, record, dataPathAddress }, request, signal),
    ).then(async (node) => {
      this.become(node, record);
      await node.registered();
    });
    await this.withinJoinTimeout(joining);
  }

  async leave(options: { readonly force: boolean }): Promise<void> {
    await this.stopRetrying();
    const { state } = this;
    switch (state.kind) {
      case 'inactive':
        throw notInSwarm();
      case 'pending':
        state.abort.abort();
        return;
      case 'active':
        if (state.node.manager !== undefined && !options.force)
          throw managerLeaves(state.node.manager.counts());
        await state.node.leave();
        break;
      case 'locked':
        if (!options.force) throw lockedManagerLeaves();
        await this.leaveStopped(state.record);
        break;
      case 'error':
        await this.leaveStopped(state.record);
        break;
    }
    rmSync(statePaths(this.context.options.stateDir).swarm, { recursive: true, force: true });
    this.state = { kind: 'inactive' };
  }

  /** Of a node that could not be started: what it left on the engine and in the kernel goes all the same. */
  private async leaveStopped(record: NodeRecord): Promise<void> {
    try {
      await leaveStoppedNode(this.context, record);
    } catch (error) {
      const { message } = SkepError.from(error);
      const text = 'containers and networks of the swarm that was left may still be here';
      this.context.logger.error({ error: message }, text);
    }
  }

  manager(): ManagerAccess {
    switch (this.state.kind) {
      case 'inactive':
      case 'pending':
        throw noManager('inactive', false);
      case 'locked':
        throw noManager('locked', true);
      case 'error':
        if (this.state.error === certificatesExpired().message) throw certificatesExpired();
        throw noManager('pending', true);
      case 'active': {
        const { manager } = this.state.node;
        if (manager === undefined) throw noManager('active', false);
        if (!manager.isReady()) throw noManager('pending', true);
        return manager.access;
      }
    }
  }

  async unlockKey(): Promise<string> {
    const [cluster] = this.manager().store.view((read) => read.find('cluster', { by: 'all' }));
    const key = managerUnlockKey(cluster);
    return key === undefined ? '' : formatUnlockKey(key);
  }

  async unlock(text: string): Promise<void> {
    const { state } = this;
    if (state.kind !== 'locked') {
      this.manager();
      throw new SkepError('already_exists', 'swarm is not locked');
    }
    const key = parseUnlockKey(text);
    const { record } = state;
    try {
      await NodeIdentity.load(statePaths(this.context.options.stateDir).swarm, key);
    } catch (error) {
      if (SkepError.from(error).code === 'permission_denied') throw invalidUnlockKey();
      throw error;
    }
    // Somebody else was faster.
    if (this.state !== state) throw new SkepError('already_exists', 'swarm is not locked');
    this.state = { kind: 'pending', abort: new AbortController() };
    try {
      const node = await this.takeUp(record, key);
      this.state = { kind: 'active', node, record };
    } catch (error) {
      this.cannotResume(error, record);
      throw new SkepError(
        'unknown',
        `swarm component could not be started: ${SkepError.from(error).message}`,
        { cause: error },
      );
    }
  }

  async backup(target: Writable, signal: AbortSignal): Promise<void> {
    const { state } = this;
    const manager = state.kind === 'active' ? state.node.manager : undefined;
    if (state.kind !== 'active' || manager === undefined) {
      this.manager();
      throw notAManager();
    }
    const { identity } = state.node;
    const parts = { recorded: state.record.value, identity, state: await manager.knownState() };
    await writeBackup(this.context, parts, target, signal);
  }

  /** Runs an init or join; whatever it left behind is removed when it fails. */
  private async enter(work: (signal: AbortSignal) => Promise<RunningNode>): Promise<RunningNode> {
    const abort = new AbortController();
    this.state = { kind: 'pending', abort };
    try {
      return await work(abort.signal);
    } catch (error) {
      rmSync(statePaths(this.context.options.stateDir).swarm, { recursive: true, force: true });
      this.state = { kind: 'inactive' };
      throw error;
    }
  }

  /** The address as long as the host has it: a backup may have been put back on another host. */
  private stillOwn(address: string): string {
    const isOwn = this.context.netlink.addresses().some((own) => own.address === address);
    return isOwn ? address : '';
  }

  private newRecord(state: NodeState): NodeRecord {
    const file = statePaths(this.context.options.stateDir).nodeState;
    return new NodeRecord(file, state, { committed: false });
  }

  private become(node: RunningNode, record: NodeRecord): void {
    record.commit();
    this.state = { kind: 'active', node, record };
  }

  private async withinJoinTimeout(joining: Promise<void>): Promise<void> {
    const { clock } = this.context.environment;
    let late = false;
    const timeout = new Promise<never>((_, reject) => {
      const timer = clock.setTimer(JOIN_TIMEOUT_MS, () => {
        late = true;
        reject(joinTimeout());
      });
      joining.then(
        () => timer.cancel(),
        (error: unknown) => {
          timer.cancel();
          if (late)
            this.context.logger.error({ error: SkepError.from(error).message }, 'join failed');
        },
      );
    });
    await Promise.race([joining, timeout]);
  }
}
