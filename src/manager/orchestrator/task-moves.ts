/**
 * Tasks that run and are to run elsewhere: those of drained nodes (`skep.drain=rolling`). Finds the
 * services with such tasks and has the updater move them, one run a service at a time.
 */
import type { Timer } from '../../model/environment.js';
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { observedState } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent } from '../../store/types.js';
import type { MoveSource } from '../updater/move-run.js';
import type { UpdateSupervisor } from '../updater/update-supervisor.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { MOVE_REST_MS } from './limits.js';
import { AT_ONCE, type Debounce } from './reconcile-loop.js';
import { changesDrain, drainMoves, isDrained } from './rolling-drain.js';

/** Starts the moves of all services. */
export class TaskMoves extends LeaderLoop {
  readonly #updates: UpdateSupervisor;
  /** Services to look at. */
  readonly #dirty = new Set<string>();
  /** Services whose last move failed, with what ends their rest. */
  readonly #resting = new Map<string, Timer>();

  constructor(options: LeaderLoopOptions & { readonly updates: UpdateSupervisor }) {
    super(options, 'moves');
    this.#updates = options.updates;
    this.#updates.onFinished((serviceId) => this.#look(serviceId));
  }

  override async stop(): Promise<void> {
    for (const timer of this.#resting.values()) timer.cancel();
    this.#resting.clear();
    await super.stop();
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const node of transaction.find('node', { by: 'all' })) {
      if (isDrained(node)) this.#markTasksOn(transaction, node.id);
    }
  }

  protected observe(event: StoreEvent): void {
    if (event.kind === 'remove') return;
    if (changesDrain(event)) this.store.view((transaction) => this.observeAll(transaction));
    if (event.table === 'node') {
      if (!isDrained(event.object)) return;
      this.store.view((transaction) => this.#markTasksOn(transaction, event.object.id));
    } else if (event.table === 'task') {
      const { serviceId, nodeId } = event.object;
      if (observedState(event.object) !== TaskState.RUNNING) return;
      // It came up in the moment its node was drained.
      const node = this.store.view((transaction) => transaction.get('node', nodeId));
      if (isDrained(node)) this.#dirty.add(serviceId);
    }
  }

  protected override due(): Debounce | undefined {
    return this.#dirty.size > 0 ? AT_ONCE : undefined;
  }

  protected pass(): Promise<void> {
    const serviceIds = [...this.#dirty].sort();
    this.#dirty.clear();
    for (const serviceId of serviceIds) {
      // The end of what is under way, or of the rest, has it looked at again.
      if (this.#updates.isActive(serviceId) || this.#resting.has(serviceId)) continue;
      const found = this.store.view((transaction) => this.#movesOf(transaction, serviceId));
      if (found === undefined) continue;
      const [service, source] = found;
      this.#updates.move(service, source, (hasFailed) => {
        if (hasFailed) this.#rest(serviceId);
      });
    }
    return Promise.resolve();
  }

  #movesOf(
    transaction: ReadTransaction,
    serviceId: string,
  ): readonly [Service, MoveSource] | undefined {
    const service = transaction.get('service', serviceId);
    if (service === undefined) return undefined;
    const sources = [drainMoves(service)];
    const source = sources.find(
      (moves) => moves.next(transaction, service, () => false) !== undefined,
    );
    return source && [service, source];
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

  #rest(serviceId: string): void {
    if (this.loop.stopped) return;
    this.logger.warn({ serviceId }, 'a task that was moved has ended; moves rest');
    const timer = this.environment.clock.setTimer(MOVE_REST_MS, () => {
      this.#resting.delete(serviceId);
      this.#look(serviceId);
    });
    this.#resting.set(serviceId, timer);
  }
}
