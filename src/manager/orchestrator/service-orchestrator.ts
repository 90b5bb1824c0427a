/**
 * What the orchestrators of all service modes share: gathering what changed, taking over the tasks
 * of the previous leader, and working in serial passes. A mode adds how its set of tasks follows
 * from the spec.
 */
import { DEFAULT_RESTART_DELAY_MS, durationMs, taskTimestampMs } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import {
  isOnNode,
  isOver,
  isWanted,
  observedState,
  type ServiceMode,
  serviceMode,
} from '../../model/task-state.js';
import type { Logger } from '../../observe/logger.js';
import type { ReadTransaction, Store, StoreEvent, WriteTransaction } from '../../store/types.js';
import type { UpdateSupervisor } from '../updater/update-supervisor.js';
import { type AfterCommit, commitGroups } from './commit-groups.js';
import { ReconcileLoop } from './reconcile-loop.js';
import type { RestartSupervisor } from './restart-supervisor.js';
import {
  byCreation,
  findCluster,
  isTaskDirty,
  newTask,
  placeOfTask,
  raiseDesiredState,
  type SlotKey,
  slotKeyText,
  slotOf,
  tasksInSlot,
} from './task.js';

/** What an orchestrator works with. */
export interface OrchestratorParts {
  readonly store: Store;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly supervisor: RestartSupervisor;
  readonly updates: UpdateSupervisor;
}

/** Keeps the tasks of the services of one mode in line with their specs. */
export abstract class ServiceOrchestrator {
  protected readonly store: Store;
  protected readonly environment: Environment;
  protected readonly logger: Logger;
  protected readonly supervisor: RestartSupervisor;
  protected readonly updates: UpdateSupervisor;
  /** Services whose set of tasks must be looked at. */
  protected readonly dirtyServices = new Set<string>();
  /** Tasks that ended, or lost their node, though wanted. */
  protected readonly endedTasks = new Set<string>();
  protected readonly loop: ReconcileLoop;
  /** Services whose update is over. */
  readonly #unsettled = new Set<string>();
  /** Slots one of whose tasks came up, by {@link slotKeyText}. */
  readonly #unsettledSlots = new Map<string, SlotKey>();
  readonly #services = new Set<string>();
  readonly #mode: ServiceMode;
  #unsubscribe = (): void => undefined;
  #takenOver = false;

  constructor(parts: OrchestratorParts, mode: ServiceMode) {
    this.store = parts.store;
    this.environment = parts.environment;
    this.logger = parts.logger.child({ loop: mode });
    this.supervisor = parts.supervisor;
    this.updates = parts.updates;
    this.updates.onFinished((serviceId) => {
      this.#unsettled.add(serviceId);
      this.loop.trigger();
    });
    this.#mode = mode;
    this.loop = new ReconcileLoop({
      environment: this.environment,
      logger: this.logger,
      pass: () => this.#pass(),
    });
  }

  /** Begins to work from what the store holds. */
  start(): void {
    this.#unsubscribe = this.store.subscribe((events) => {
      for (const event of events) this.#observe(event);
      if (this.hasWork()) this.loop.trigger();
    });
    this.loop.trigger();
  }

  /** Ends after the pass under way. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.loop.stop();
  }

  /** Notes a change; called synchronously for each. */
  protected abstract observe(event: StoreEvent): void;

  /** Notes everything there is, at start. */
  protected abstract observeAll(transaction: ReadTransaction): void;

  /** Restarts or ends {@link endedTasks}; each a group of its own. */
  protected abstract replaceEnded(taskIds: readonly string[]): Promise<void>;

  /** Brings {@link dirtyServices} in line. */
  protected abstract reconcileServices(serviceIds: readonly string[]): Promise<void>;

  /** Further work of the mode, after the above. */
  protected reconcileRest(): Promise<void> {
    return Promise.resolve();
  }

  protected hasWork(): boolean {
    const { dirtyServices, endedTasks } = this;
    const unsettled = this.#unsettled.size + this.#unsettledSlots.size;
    return dirtyServices.size + endedTasks.size + unsettled > 0;
  }

  /** The services of this orchestrator, in order of id. */
  protected services(transaction: ReadTransaction): readonly Service[] {
    const services = [...this.#services].sort().map((id) => transaction.get('service', id));
    return services.filter((service) => this.isMine(service));
  }

  /** Whether this orchestrator is the one for `service`. */
  protected isMine(service: Service | undefined): service is Service {
    return service !== undefined && serviceMode(service) === this.#mode;
  }

  /**
   * Creates a task in a slot that has no wanted one. While an earlier task of the slot is still
   * being stopped, the new one is only prepared, so that never two run.
   * @returns what to do once `transaction` is stored
   */
  protected fillSlot(
    transaction: WriteTransaction,
    service: Service,
    slot: SlotKey,
    desiredState: TaskState,
  ): AfterCommit | undefined {
    // What is stored suffices, and is faster to search: no other group of this batch is about this
    // slot, and nobody else writes meanwhile.
    const present = this.store.view((read) => tasksInSlot(read, slot));
    if (present.some(isWanted)) return undefined;
    const stopping = present.some(isOnNode);
    const task = newTask(this.environment, {
      cluster: findCluster(transaction),
      service,
      slot,
      desiredState: stopping ? TaskState.READY : desiredState,
    });
    transaction.create('task', task);
    if (!stopping) return undefined;
    return () => void this.supervisor.startLater(task.id, { delayMs: 0, freeSlot: slot });
  }

  #observe(event: StoreEvent): void {
    if (event.table === 'service') {
      const { id } = event.object;
      if (!this.isMine(event.object)) return;
      if (event.kind !== 'remove') this.#services.add(id);
      else {
        this.#services.delete(id);
        this.supervisor.history.forget(id);
      }
    }
    if (event.table === 'task') {
      if (event.kind === 'remove') this.supervisor.cancelStart(event.object.id);
      else if (observedState(event.object) === TaskState.RUNNING) this.#noteRunning(event.object);
    }
    this.observe(event);
  }

  #noteRunning(task: Task): void {
    const service = this.store.view((transaction) => transaction.get('service', task.serviceId));
    if (!this.isMine(service)) return;
    const slot = slotOf(service, task);
    this.#unsettledSlots.set(slotKeyText(slot), slot);
  }

  async #pass(): Promise<void> {
    if (!this.#takenOver) {
      this.store.view((transaction) => this.#takeOver(transaction));
      this.#takenOver = true;
    }
    await this.#drain(this.endedTasks, (ids) => this.replaceEnded(ids));
    await this.#drain(this.dirtyServices, (ids) => this.reconcileServices(ids));
    await this.reconcileRest();
    this.store.view((transaction) => {
      for (const id of this.#unsettled) this.#noteSlots(transaction, id);
    });
    this.#unsettled.clear();
    await this.#settle();
  }

  #noteSlots(transaction: ReadTransaction, serviceId: string): void {
    const service = transaction.get('service', serviceId);
    if (!this.isMine(service)) return;
    for (const task of transaction.find('task', { by: 'service', serviceId })) {
      const slot = slotOf(service, task);
      this.#unsettledSlots.set(slotKeyText(slot), slot);
    }
  }

  /**
   * A slot can be left with two wanted tasks when an update ends in between (start-first, the new
   * task failed and was restarted). Once the right one runs, the others have to go.
   */
  async #settle(): Promise<void> {
    const slots = [...this.#unsettledSlots.values()];
    this.#unsettledSlots.clear();
    const crowded = this.store.view((transaction) =>
      slots.filter((slot) => {
        if (tasksInSlot(transaction, slot).filter(isWanted).length < 2) return false;
        const { serviceId } = slot;
        // The end of an update has them all looked at again.
        return (
          this.isMine(transaction.get('service', serviceId)) && !this.updates.isActive(serviceId)
        );
      }),
    );
    try {
      await commitGroups(
        this.store,
        crowded.map((slot) => (write) => settleSlot(write, slot)),
      );
    } catch (error) {
      for (const slot of crowded) this.#unsettledSlots.set(slotKeyText(slot), slot);
      throw error;
    }
  }

  /** Works off a set; what it held comes back if that fails. */
  async #drain(set: Set<string>, work: (ids: readonly string[]) => Promise<void>): Promise<void> {
    const ids = [...set].sort();
    set.clear();
    if (ids.length === 0) return;
    try {
      await work(ids);
    } catch (error) {
      for (const id of ids) set.add(id);
      throw error;
    }
  }

  /** Rebuilds restart history and pending starts from the tasks of the previous leader. */
  #takeOver(transaction: ReadTransaction): void {
    for (const service of transaction.find('service', { by: 'all' })) {
      if (!this.isMine(service)) continue;
      this.#services.add(service.id);
      const slots = new Map<string, { key: SlotKey; tasks: Task[] }>();
      for (const task of transaction.find('task', { by: 'service', serviceId: service.id })) {
        const key = slotOf(service, task);
        const slot = slots.get(slotKeyText(key)) ?? { key, tasks: [] };
        slots.set(slotKeyText(key), slot);
        slot.tasks.push(task);
      }
      for (const { key, tasks } of slots.values()) this.#takeOverSlot(key, tasks);
    }
    this.observeAll(transaction);
  }

  #takeOverSlot(key: SlotKey, tasks: readonly Task[]): void {
    const versions = tasks.map((task) => task.specVersion?.index ?? 0n);
    const newest = versions.reduce((a, b) => (a > b ? a : b), 0n);
    const current = tasks.filter((task) => (task.specVersion?.index ?? 0n) === newest);
    for (const task of current.sort(byCreation).slice(1)) this.supervisor.history.record(key, task);
    for (const task of tasks) {
      if (task.desiredState !== TaskState.READY || isOver(task)) continue;
      const delayMs = durationMs(task.spec?.restart?.delay) ?? DEFAULT_RESTART_DELAY_MS;
      const sinceMs = this.environment.clock.nowMs() - (taskTimestampMs(task) ?? 0);
      void this.supervisor.startLater(task.id, {
        delayMs: Math.min(Math.max(0, delayMs - sinceMs), delayMs),
        freeSlot: key,
      });
    }
  }
}

/** Keeps the newest up-to-date task that runs; while none does, nothing is taken away. */
function settleSlot(transaction: WriteTransaction, key: SlotKey): void {
  const service = transaction.get('service', key.serviceId);
  if (service === undefined) return;
  const wanted = tasksInSlot(transaction, key).filter(isWanted);
  const running = wanted.filter((task) => observedState(task) === TaskState.RUNNING);
  const current = running.filter(
    (task) => !isTaskDirty(service, task, ...placeOfTask(transaction, task)),
  );
  const candidates = current.length > 0 || running.length < wanted.length ? current : running;
  const kept = candidates.sort(byCreation).at(-1);
  if (kept === undefined) return;
  for (const task of wanted) {
    if (task !== kept) raiseDesiredState(transaction, task.id, TaskState.SHUTDOWN);
  }
}
