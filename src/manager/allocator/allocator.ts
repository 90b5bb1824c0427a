/**
 * Hands out everything tasks need before they can be placed: subnets, addresses, virtual
 * addresses, ports. It moves tasks from NEW to PENDING (SwarmKit manager/allocator). What is held
 * follows from the store alone, so a new leader starts from the same state.
 */
import type { Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Network, Node, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode, isOver, isWanted, observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import { commitGroups, type Group } from '../orchestrator/commit-groups.js';
import { LeaderLoop, type LeaderLoopOptions } from '../orchestrator/leader-loop.js';
import { quarantineMs, restLeftMs } from '../orchestrator/lost-tasks.js';
import { AT_ONCE, type Debounce } from '../orchestrator/reconcile-loop.js';
import { findCluster } from '../orchestrator/task.js';
import { createBootstrapNetworks } from './bootstrap-networks.js';
import { LostNodes } from './lost-nodes.js';
import { STUCK_RETRY_PERIOD_MS } from './limits.js';
import { allocateNetwork, isAllocated } from './network-allocation.js';
import { type Owner, Resources } from './resources.js';
import { allocateService, attachmentConfigs, isServiceAllocated } from './service-allocation.js';
import { concernsTasks, entersNode, followedTask, isLost } from './task-following.js';
import { allocateNode, allocateTask, withAllocationError } from './task-allocation.js';

type Kind = 'network' | 'service' | 'task' | 'node';

/** The order in which a pass allocates: each needs what stands before it. */
const KINDS: readonly Kind[] = ['network', 'service', 'task', 'node'];

/** Ids of objects by kind. */
type IdSets = Readonly<Record<Kind, Set<string>>>;

function emptySets(): IdSets {
  return { network: new Set(), service: new Set(), task: new Set(), node: new Set() };
}

/** The allocator of the cluster. */
export class Allocator extends LeaderLoop {
  #resources = new Resources();
  /** Objects to look at in the next pass. */
  readonly #dirty = emptySets();
  /** Objects that could not be allocated; looked at again when something changes for them. */
  readonly #stuck = emptySets();
  /** Why a network or service is stuck, for its tasks to say. */
  readonly #problems = new Map<string, string>();
  readonly #quarantines = new Map<Owner, Timer>();
  readonly #lostNodes: LostNodes;
  #bootstrapped = false;
  #retryTimer: Timer | undefined;

  constructor(options: LeaderLoopOptions) {
    super(options, 'allocator');
    this.#lostNodes = new LostNodes(options.environment, (nodeId) => this.#observeTasksOn(nodeId));
  }

  /** What is allocated, for tests of leaks. */
  get resources(): Resources {
    return this.#resources;
  }

  override async stop(): Promise<void> {
    this.#retryTimer?.cancel();
    for (const timer of this.#quarantines.values()) timer.cancel();
    this.#quarantines.clear();
    this.#lostNodes.stop();
    await super.stop();
  }

  protected override due(): Debounce | undefined {
    return KINDS.some((kind) => this.#dirty[kind].size > 0) ? AT_ONCE : undefined;
  }

  protected observeAll(transaction: ReadTransaction): void {
    const resources = new Resources();
    this.#resources = resources;
    for (const cluster of transaction.find('cluster', { by: 'all' })) {
      resources.observeCluster(cluster);
    }
    const networks = transaction.find('network', { by: 'all' });
    for (const network of networks) {
      resources.observeNetwork(network);
      if (!isAllocated(network)) this.#dirty.network.add(network.id);
    }
    for (const node of transaction.find('node', { by: 'all' })) {
      resources.observeNode(node);
      this.#lostNodes.observe(node, false, quarantineMs(transaction));
      this.#dirty.node.add(node.id);
    }
    for (const service of transaction.find('service', { by: 'all' })) {
      resources.observeService(service);
      if (!isServiceAllocated(transaction, service)) this.#dirty.service.add(service.id);
    }
    const nowMs = this.environment.clock.nowMs();
    for (const task of transaction.find('task', { by: 'all' })) {
      resources.observeTask(task);
      const restMs = restLeftMs(transaction, task, nowMs);
      if (restMs > 0) this.#endQuarantineAfter(resources.quarantineTask(task), restMs);
      if (needsAllocation(task) || isOnNode(task)) this.#dirty.task.add(task.id);
    }
    resources.resume(networks);
  }

  protected observe(event: StoreEvent): void {
    switch (event.table) {
      case 'cluster':
        if (event.kind !== 'remove') this.#resources.observeCluster(event.object);
        if (!this.#bootstrapped) this.loop.trigger();
        return;
      case 'network':
        return this.#observeNetwork(event.object, event.kind === 'remove');
      case 'service': {
        const { id } = event.object;
        if (event.kind === 'remove') return this.#removed('service', id);
        if (this.#resources.observeService(event.object)) this.#unstick();
        const done = this.store.view((read) => isServiceAllocated(read, event.object));
        if (!done) this.#dirty.service.add(id);
        else this.#serviceReady(id);
        if (done && concernsTasks(event)) this.#markTasksOf(id);
        return;
      }
      case 'task':
        return this.#observeTask(event);
      case 'node':
        this.#lostNodes.observe(
          event.object,
          event.kind === 'remove',
          this.store.view(quarantineMs),
        );
        if (event.kind === 'remove') {
          const { id, status } = event.object;
          if (status?.state === NodeStatus_State.DOWN) this.#quarantine(`node/${id}`);
          return this.#removed('node', event.object.id);
        }
        if (this.#resources.observeNode(event.object)) this.#unstick();
        if (event.kind === 'create') this.#dirty.node.add(event.object.id);
        return;
      default:
        return;
    }
  }

  #observeNetwork(network: Network, removed: boolean): void {
    if (removed) {
      if (this.#resources.forgetNetwork(network.id)) this.#unstick();
      this.#removed('network', network.id);
      // Nodes drop their addresses on it.
      this.#markNodes(({ attachments }) =>
        attachments.some((attachment) => attachment.network?.id === network.id),
      );
      return;
    }
    if (this.#resources.observeNetwork(network)) this.#unstick();
    if (!isAllocated(network)) {
      this.#dirty.network.add(network.id);
      return;
    }
    this.#problems.delete(network.id);
    this.#unstick();
    if (network.spec?.ingress === true) this.#markNodes(() => true);
  }

  /**
   * The owner is gone from the store, but what it was may go on unseen: on a node that is cut off.
   * Such a node takes itself off the networks after `skep.fence_after`; until twice that nobody gets
   * these addresses.
   */
  #quarantine(owner: Owner): void {
    const name = this.#resources.quarantine(owner);
    if (name === undefined) return;
    this.#endQuarantineAfter(name, this.store.view(quarantineMs));
  }

  #endQuarantineAfter(name: Owner, delayMs: number): void {
    this.#quarantines.get(name)?.cancel();
    const timer = this.environment.clock.setTimer(delayMs, () => {
      this.#quarantines.delete(name);
      if (this.#resources.forget(name)) this.#unstick();
      this.loop.trigger();
    });
    this.#quarantines.set(name, timer);
  }

  #observeTask(event: Extract<StoreEvent, { table: 'task' }>): void {
    const task = event.object;
    if (this.store.view((read) => isLost(read, event))) this.#quarantine(`task/${task.id}`);
    if (event.kind === 'remove') {
      this.#removed('task', task.id);
      if (task.networks.length > 0 && task.nodeId !== '') this.#dirty.node.add(task.nodeId);
      return;
    }
    if (this.#holdOf(task)) this.#unstick();
    if (needsAllocation(task)) {
      // Its own error being written is no reason to try again.
      if (event.kind === 'create' || !this.#stuck.task.has(task.id)) this.#dirty.task.add(task.id);
    } else {
      // A running one may be waiting to follow its service.
      if (!isOnNode(task)) this.#dirty.task.delete(task.id);
      this.#stuck.task.delete(task.id);
    }
    if (entersNode(event)) this.#dirty.task.add(task.id);
    const wasOnNode = event.kind === 'update' && isOnNode(event.old);
    const hasNetworks = task.networks.length > 0;
    if (hasNetworks && isOnNode(task) !== wasOnNode) this.#dirty.node.add(task.nodeId);
  }

  /** Has the task hold what it has; @returns whether something became free */
  #holdOf(task: Task): boolean {
    const isGivenUp = !isWanted(task) && this.#lostNodes.isLost(task.nodeId);
    return this.#resources.observeTask(task, isGivenUp);
  }

  /** The node counts as lost, or not any more. */
  #observeTasksOn(nodeId: string): void {
    const tasks = this.store.view((read) => read.find('task', { by: 'node', nodeId }));
    if (tasks.filter((task) => this.#holdOf(task)).length === 0) return;
    this.#unstick();
    this.loop.trigger();
  }

  #removed(kind: Kind, id: string): void {
    this.#dirty[kind].delete(id);
    this.#stuck[kind].delete(id);
    this.#problems.delete(id);
    if (kind !== 'network' && this.#resources.forget(`${kind}/${id}` satisfies Owner)) {
      this.#unstick();
    }
  }

  /** The service has its endpoint: tasks that waited for it can go on. */
  #serviceReady(serviceId: string): void {
    this.#dirty.service.delete(serviceId);
    this.#stuck.service.delete(serviceId);
    this.#problems.delete(serviceId);
    if (this.#stuck.task.size === 0) return;
    const tasks = this.store.view((read) => read.find('task', { by: 'service', serviceId }));
    for (const { id } of tasks) {
      if (this.#stuck.task.delete(id)) this.#dirty.task.add(id);
    }
  }

  /** Running tasks may have to follow their service. */
  #markTasksOf(serviceId: string): void {
    const tasks = this.store.view((read) => read.find('task', { by: 'service', serviceId }));
    for (const task of tasks) if (isOnNode(task)) this.#dirty.task.add(task.id);
  }

  #markNodes(concerns: (node: Node) => boolean): void {
    const nodes = this.store.view((read) => read.find('node', { by: 'all' }));
    for (const node of nodes) if (concerns(node)) this.#dirty.node.add(node.id);
  }

  /** Something became free, or ready: everything that is stuck gets another chance. */
  #unstick(): void {
    for (const kind of KINDS) {
      for (const id of this.#stuck[kind]) this.#dirty[kind].add(id);
      this.#stuck[kind].clear();
    }
  }

  protected async pass(): Promise<void> {
    if (!this.#bootstrapped) await this.#bootstrap();
    const taken = emptySets();
    const groups: Group[] = [];
    for (const kind of KINDS) {
      for (const id of this.#inOrder(kind)) {
        taken[kind].add(id);
        groups.push((transaction) => this.#allocate(transaction, kind, id));
      }
      this.#dirty[kind].clear();
    }
    try {
      await commitGroups(this.store, groups);
    } catch (error) {
      // Whatever was held for these is held no more, unless it was stored.
      this.store.view((transaction) => this.#observeAgain(transaction, taken));
      for (const kind of KINDS) for (const id of taken[kind]) this.#dirty[kind].add(id);
      throw error;
    }
    this.#armRetry();
  }

  async #bootstrap(): Promise<void> {
    // The cluster object says which address pools to use.
    if (this.store.view(findCluster) === undefined) return;
    await this.store.update((write) => createBootstrapNetworks(write, this.environment));
    this.#bootstrapped = true;
  }

  /** Ids of one kind; networks oldest first, the ingress network before all others. */
  #inOrder(kind: Kind): readonly string[] {
    const ids = [...this.#dirty[kind]].sort();
    if (kind !== 'network') return ids;
    const rank = (id: string): bigint => {
      const network = this.store.view((read) => read.get('network', id));
      if (network === undefined || network.spec?.ingress === true) return 0n;
      return network.meta?.version?.index ?? 0n;
    };
    return ids.sort((a, b) => Number(rank(a) - rank(b)));
  }

  #allocate(transaction: WriteTransaction, kind: Kind, id: string): void {
    this.#stuck[kind].delete(id);
    try {
      const done = this.#tryAllocate(transaction, kind, id);
      if (!done) this.#stuck[kind].add(id);
    } catch (error) {
      if (!(error instanceof SkepError)) throw error;
      this.#stuck[kind].add(id);
      this.#explain(transaction, kind, id, error.message);
    }
  }

  /** Returns false when something it needs is not ready. */
  #tryAllocate(transaction: WriteTransaction, kind: Kind, id: string): boolean {
    const resources = this.#resources;
    switch (kind) {
      case 'network': {
        const network = transaction.get('network', id);
        if (network === undefined || isAllocated(network)) return true;
        resources.observeNetwork(network);
        transaction.update('network', allocateNetwork(resources, network));
        return true;
      }
      case 'service': {
        const service = transaction.get('service', id);
        if (service === undefined || isServiceAllocated(transaction, service)) return true;
        resources.observeService(service);
        const allocated = allocateService(resources, transaction, service);
        if (allocated === undefined) return this.#passOnProblem(id, attachmentConfigs(service));
        transaction.update('service', allocated);
        return true;
      }
      case 'task': {
        const task = transaction.get('task', id);
        if (task === undefined) return true;
        if (!needsAllocation(task)) {
          const followed = followedTask(transaction, task);
          if (followed !== undefined) transaction.update('task', followed);
          return true;
        }
        resources.observeTask(task);
        const allocated = allocateTask(resources, transaction, this.environment, task);
        if (allocated === undefined) {
          this.#explainWaiting(transaction, task);
          return false;
        }
        transaction.update('task', allocated);
        return true;
      }
      case 'node': {
        const node = transaction.get('node', id);
        if (node === undefined) return true;
        resources.observeNode(node);
        const { node: allocated, complete } = allocateNode(resources, transaction, node);
        if (allocated !== node) transaction.update('node', allocated);
        return complete;
      }
    }
  }

  /** A service waits for a network: its problem becomes the service's. */
  #passOnProblem(serviceId: string, configs: readonly { readonly target: string }[]): false {
    const problem = configs.map(({ target }) => this.#problems.get(target)).find(Boolean);
    if (problem !== undefined) this.#problems.set(serviceId, problem);
    return false;
  }

  #explainWaiting(transaction: WriteTransaction, task: Task): void {
    const targets = (task.spec?.networks ?? []).map(({ target }) => target);
    const problem = [task.serviceId, ...targets].map((id) => this.#problems.get(id)).find(Boolean);
    if (problem !== undefined) this.#explain(transaction, 'task', task.id, problem);
  }

  #explain(transaction: WriteTransaction, kind: Kind, id: string, problem: string): void {
    if (kind === 'task') {
      const task = transaction.get('task', id);
      if (task === undefined) return;
      const explained = withAllocationError(this.environment, task, problem);
      if (explained !== task) transaction.update('task', explained);
      return;
    }
    if (this.#problems.get(id) !== problem) {
      this.logger.warn(
        { kind, id, problem },
        'allocation failed; waiting for something to free up',
      );
    }
    this.#problems.set(id, problem);
    // Its tasks say so, too.
    if (kind !== 'service') return;
    for (const task of transaction.find('task', { by: 'service', serviceId: id })) {
      if (this.#stuck.task.delete(task.id)) this.#dirty.task.add(task.id);
    }
    if (this.#dirty.task.size > 0) this.loop.trigger();
  }

  #observeAgain(transaction: ReadTransaction, taken: IdSets): void {
    for (const id of taken.network) {
      const network = transaction.get('network', id);
      if (network === undefined) this.#resources.forgetNetwork(id);
      else this.#resources.observeNetwork(network);
    }
    for (const id of taken.service) {
      const service = transaction.get('service', id);
      if (service === undefined) this.#resources.forget(`service/${id}`);
      else this.#resources.observeService(service);
    }
    for (const id of taken.task) {
      const task = transaction.get('task', id);
      if (task === undefined) this.#resources.forget(`task/${id}`);
      else this.#holdOf(task);
    }
    for (const id of taken.node) {
      const node = transaction.get('node', id);
      if (node === undefined) this.#resources.forget(`node/${id}`);
      else this.#resources.observeNode(node);
    }
  }

  #armRetry(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    if (KINDS.every((kind) => this.#stuck[kind].size === 0) || this.loop.stopped) return;
    this.#retryTimer = this.environment.clock.setTimer(STUCK_RETRY_PERIOD_MS, () => {
      this.#unstick();
      this.loop.trigger();
    });
  }
}

/** Whether the task waits for the allocator. */
function needsAllocation(task: Task): boolean {
  return observedState(task) === TaskState.NEW && isWanted(task) && !isOver(task);
}
