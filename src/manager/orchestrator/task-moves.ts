/**
 * Tasks that run and are to run elsewhere: those of drained nodes (`skep.drain=rolling`), and those that
 * would stand better on another node (`skep.rebalance`). Finds the services with such tasks and has the
 * updater move them, one run a service at a time.
 */
import type { Timer } from '../../model/environment.js';
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent } from '../../store/types.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { MoveOutcome, MoveSource } from '../updater/move-run.js';
import type { UpdateSupervisor } from '../updater/update-supervisor.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { MOVE_REST_MS, MOVE_RETRY_MS, REBALANCE_CHECK_MS, REBALANCE_QUIET_MS } from './limits.js';
import { placementChanged } from './node-change.js';
import { rebalanceMoves, rebalances } from './rebalancing.js';
import { AT_ONCE, type Debounce } from './reconcile-loop.js';
import { changesDrain, drainMoves, isDrained } from './rolling-drain.js';
import { StableNodes } from './stable-nodes.js';

const SPREAD: Debounce = { quietPeriodMs: REBALANCE_QUIET_MS, maxDelayMs: 5 * REBALANCE_QUIET_MS };

/** Starts the moves of all services. */
export class TaskMoves extends LeaderLoop {
  readonly #updates: UpdateSupervisor;
  readonly #scheduler: Pick<Scheduler, 'betterPlace'>;
  readonly #stable: StableNodes;
  /** Services to look at, at once. */
  readonly #dirty = new Set<string>();
  /** Services that want their tasks spread evenly. */
  readonly #rebalanced = new Set<string>();
  /** Those whose spread may have changed. */
  readonly #uneven = new Set<string>();
  /** Services whose last run of moves came to nothing, with what ends their rest. */
  readonly #resting = new Map<string, Timer>();
  #checkTimer: Timer | undefined;

  constructor(
    options: LeaderLoopOptions & {
      readonly updates: UpdateSupervisor;
      readonly scheduler: Pick<Scheduler, 'betterPlace'>;
    },
  ) {
    super(options, 'moves');
    this.#updates = options.updates;
    this.#scheduler = options.scheduler;
    this.#updates.onFinished((serviceId) => this.#look(serviceId));
    this.#stable = new StableNodes(options.environment, () => this.#checkSpread());
  }

  override async stop(): Promise<void> {
    for (const timer of this.#resting.values()) timer.cancel();
    this.#resting.clear();
    this.#checkTimer?.cancel();
    this.#stable.stop();
    await super.stop();
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) this.#stable.observe(node, false);
    for (const service of transaction.find('service', { by: 'all' })) this.#noteService(service);
    this.#markDrained(transaction);
  }

  protected observe(event: StoreEvent): void {
    if (changesDrain(event)) this.store.view((transaction) => this.#markDrained(transaction));
    switch (event.table) {
      case 'node': {
        this.#stable.observe(event.object, event.kind === 'remove');
        if (event.kind === 'update' && !placementChanged(event.old, event.object)) return;
        for (const serviceId of this.#rebalanced) this.#uneven.add(serviceId);
        if (event.kind === 'remove' || !isDrained(event.object)) return;
        this.store.view((transaction) => this.#markTasksOn(transaction, event.object.id));
        return;
      }
      case 'service':
        if (event.kind === 'remove') this.#rebalanced.delete(event.object.id);
        else this.#noteService(event.object);
        return;
      case 'task': {
        const { serviceId, nodeId } = event.object;
        if (this.#rebalanced.has(serviceId)) this.#uneven.add(serviceId);
        if (event.kind === 'remove' || observedState(event.object) !== TaskState.RUNNING) return;
        // It came up in the moment its node was drained.
        const node = this.store.view((transaction) => transaction.get('node', nodeId));
        if (isDrained(node)) this.#dirty.add(serviceId);
        return;
      }
      default:
        return;
    }
  }

  protected override due(): Debounce | undefined {
    if (this.#dirty.size > 0) return AT_ONCE;
    return this.#uneven.size > 0 ? SPREAD : undefined;
  }

  protected pass(): Promise<void> {
    const serviceIds = [...new Set([...this.#dirty, ...this.#uneven])].sort();
    this.#dirty.clear();
    this.#uneven.clear();
    for (const serviceId of serviceIds) {
      // The end of what is under way, or of the rest, has it looked at again.
      if (this.#updates.isActive(serviceId) || this.#resting.has(serviceId)) continue;
      const found = this.store.view((transaction) => this.#movesOf(transaction, serviceId));
      if (found === undefined) continue;
      const [service, source] = found;
      this.#updates.move(service, source, (outcome) => this.#noteOutcome(serviceId, outcome));
    }
    return Promise.resolve();
  }

  #movesOf(
    transaction: ReadTransaction,
    serviceId: string,
  ): readonly [Service, MoveSource] | undefined {
    const service = transaction.get('service', serviceId);
    if (service === undefined) return undefined;
    const rebalancing = rebalanceMoves({
      betterPlace: (current, tasks) => this.#scheduler.betterPlace(current, tasks),
      isStable: (nodeId) => this.#stable.has(nodeId),
    });
    const source = [drainMoves(service), rebalancing].find(
      (moves) => moves.next(transaction, service, () => false) !== undefined,
    );
    return source && [service, source];
  }

  #noteService(service: Service): void {
    const { id } = service;
    if (!rebalances(service)) {
      this.#rebalanced.delete(id);
      return;
    }
    this.#rebalanced.add(id);
    this.#uneven.add(id);
    this.#checkLater();
  }

  /** Has the spread of all services that want it even looked at, now and from time to time. */
  #checkSpread(): void {
    if (this.#rebalanced.size === 0 || this.loop.stopped) return;
    for (const serviceId of this.#rebalanced) this.#uneven.add(serviceId);
    this.loop.trigger();
    this.#checkLater();
  }

  #checkLater(): void {
    this.#checkTimer ??= this.environment.clock.setTimer(REBALANCE_CHECK_MS, () => {
      this.#checkTimer = undefined;
      this.#checkSpread();
    });
  }

  #markDrained(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) {
      if (isDrained(node)) this.#markTasksOn(transaction, node.id);
    }
  }

  #markTasksOn(transaction: ReadTransaction, nodeId: string): void {
    for (const { serviceId } of transaction.find('task', { by: 'node', nodeId })) {
      if (serviceId !== '') this.#dirty.add(serviceId);
    }
  }

  #look(serviceId: string): void {
    this.#dirty.add(serviceId);
    this.loop.trigger();
  }

  #noteOutcome(serviceId: string, outcome: MoveOutcome): void {
    if (outcome === 'moved' || this.loop.stopped) return;
    if (outcome === 'failed')
      this.logger.warn({ serviceId }, 'a task that was moved has ended or got no node; moves rest');
    const restMs = outcome === 'failed' ? MOVE_REST_MS : MOVE_RETRY_MS;
    const timer = this.environment.clock.setTimer(restMs, () => {
      this.#resting.delete(serviceId);
      this.#look(serviceId);
    });
    this.#resting.set(serviceId, timer);
  }
}
