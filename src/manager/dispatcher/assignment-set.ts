/**
 * What one node is to have: its tasks, and the secrets and configs that its live tasks refer to.
 * Pure bookkeeping over store views (SwarmKit manager/dispatcher/assignments.go): feed it the tasks
 * that may have changed, take the changes to send.
 */
import { clone, create, equals } from '@bufbuild/protobuf';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction as Action,
  AssignmentChangeSchema,
} from '../../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import {
  ConfigSchema,
  type Secret,
  SecretSchema,
  type Task,
  TaskSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { ResourceType, TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { taskSecretId } from '../../model/ids.js';
import { observedState } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';

type Kind = 'task' | 'secret' | 'config';

/** A secret or config that a task needs. */
interface Dependency {
  readonly kind: 'secret' | 'config';
  readonly id: string;
}

/** A secret whose value a plugin holds, wanted for one task. */
export interface WantedSecret {
  readonly secret: Secret;
  readonly task: Task;
}

/** The assignment of one node, as last taken, and the changes since. */
export class AssignmentSet {
  readonly #nodeId: string;
  readonly #tasks = new Map<string, Task>();
  /** Tasks that use a dependency, by its key; only sent dependencies are here. */
  readonly #users = new Map<string, Set<string>>();
  readonly #changes = new Map<string, AssignmentChange>();
  #wanted: WantedSecret[] = [];
  /** Ids of secrets that are being asked for, by task. */
  readonly #unsettled = new Map<string, Set<string>>();
  /** Tasks that the node has been told of. */
  readonly #told = new Set<string>();

  constructor(nodeId: string) {
    this.#nodeId = nodeId;
  }

  /** Whether a task that the node may be preparing already lacks a secret: the whole assignment waits. */
  get isIncomplete(): boolean {
    return [...this.#unsettled.keys()].some((taskId) => {
      const task = this.#tasks.get(taskId);
      if (task === undefined || this.#told.has(taskId)) return false;
      const state = observedState(task);
      return state > TaskState.ASSIGNED && state < TaskState.RUNNING;
    });
  }

  /** Looks at a task again: it may be new, changed, gone, or none of this node's. */
  look(taskId: string, read: ReadTransaction): void {
    const task = read.get('task', taskId);
    const isOurs =
      task !== undefined &&
      task.nodeId === this.#nodeId &&
      observedState(task) >= TaskState.ASSIGNED;
    if (isOurs) this.#put(task, read);
    else this.#remove(taskId);
  }

  /**
   * Secrets to be asked for, each once, and then given to {@link provide} or {@link giveUp}. A driver is
   * asked anew for each task, as SwarmKit does: the value may be the task's own, or another by now.
   */
  takeWanted(): readonly WantedSecret[] {
    const wanted = this.#wanted;
    this.#wanted = [];
    return wanted;
  }

  /** A wanted secret will not come: the task goes without. */
  giveUp({ secret, task }: WantedSecret): void {
    const unsettled = this.#unsettled.get(task.id);
    unsettled?.delete(secret.id);
    if (unsettled?.size === 0) this.#unsettled.delete(task.id);
  }

  /** Takes a value for a secret that was wanted. @param isForTaskOnly other tasks get others */
  provide(wanted: WantedSecret, data: Uint8Array, isForTaskOnly: boolean): void {
    const { secret, task } = wanted;
    this.giveUp(wanted);
    const known = this.#tasks.get(task.id);
    if (known === undefined || observedState(known) > TaskState.RUNNING) return;
    const value = clone(SecretSchema, secret);
    if (value.spec !== undefined) value.spec.data = data;
    if (isForTaskOnly) {
      value.id = taskSecretId(secret.id, task.id);
      value.internal = true;
    }
    const key = `secret ${value.id}`;
    this.#users.set(key, (this.#users.get(key) ?? new Set()).add(task.id));
    this.#change('secret', value.id, Action.UPDATE, { case: 'secret', value });
  }

  /**
   * The changes since the last call: dependencies before tasks, removals last. New tasks stay until
   * their secrets are settled.
   */
  take(): AssignmentChange[] {
    const rank = (change: AssignmentChange): number => {
      if (change.action === Action.REMOVE) return 2;
      return change.assignment?.item.case === 'task' ? 1 : 0;
    };
    const taken: AssignmentChange[] = [];
    for (const [key, change] of this.#changes) {
      const item = change.assignment?.item;
      if (item?.case === 'task') {
        if (this.#isHeldBack(item.value, change.action)) continue;
        if (change.action === Action.REMOVE) this.#told.delete(item.value.id);
        else this.#told.add(item.value.id);
      }
      taken.push(change);
      this.#changes.delete(key);
    }
    return taken.sort((a, b) => rank(a) - rank(b));
  }

  /** Only before the node knows of it: what is to be stopped must not wait. */
  #isHeldBack(task: Task, action: Action): boolean {
    if (action === Action.REMOVE || this.#told.has(task.id)) return false;
    const isToRun = task.desiredState <= TaskState.RUNNING;
    return isToRun && observedState(task) < TaskState.RUNNING && this.#unsettled.has(task.id);
  }

  #put(task: Task, read: ReadTransaction): void {
    const known = this.#tasks.get(task.id);
    const state = observedState(task);
    this.#tasks.set(task.id, task);
    if (state > TaskState.RUNNING) this.#releaseDependencies(task);
    else this.#useDependencies(task, read);
    // The agent's own reports come back from the store; they are no news to it. States up to
    // ASSIGNED are the scheduler's.
    const isNews =
      known === undefined || state <= TaskState.ASSIGNED || !tasksEqualStable(known, task);
    if (isNews) this.#change('task', task.id, Action.UPDATE, { case: 'task', value: task });
  }

  #remove(taskId: string): void {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return;
    this.#tasks.delete(taskId);
    this.#unsettled.delete(taskId);
    const value = create(TaskSchema, { id: taskId });
    this.#change('task', taskId, Action.REMOVE, { case: 'task', value });
    this.#releaseDependencies(task);
  }

  #useDependencies(task: Task, read: ReadTransaction): void {
    for (const { kind, id } of dependencies(task)) {
      const key = `${kind} ${id}`;
      const users = this.#users.get(key);
      const secret = kind === 'secret' ? read.get('secret', id) : undefined;
      if (secret?.spec?.driver !== undefined) {
        if (!this.#hasDriverSecret(task.id, id)) this.#want(secret, task);
        continue;
      }
      if (users !== undefined) {
        users.add(task.id);
        continue;
      }
      if (kind === 'secret') {
        const value = secret;
        if (value === undefined) continue;
        this.#change(kind, id, Action.UPDATE, { case: 'secret', value });
      } else {
        const value = read.get('config', id);
        if (value === undefined) continue;
        this.#change(kind, id, Action.UPDATE, { case: 'config', value });
      }
      this.#users.set(key, new Set([task.id]));
    }
  }

  #want(secret: Secret, task: Task): void {
    const unsettled = this.#unsettled.get(task.id) ?? new Set();
    if (unsettled.has(secret.id)) return;
    this.#unsettled.set(task.id, unsettled.add(secret.id));
    this.#wanted.push({ secret, task });
  }

  #hasDriverSecret(taskId: string, id: string): boolean {
    return [id, taskSecretId(id, taskId)].some(
      (each) => this.#users.get(`secret ${each}`)?.has(taskId) === true,
    );
  }

  #releaseDependencies(task: Task): void {
    const all = dependencies(task);
    const ownSecrets = all
      .filter(({ kind }) => kind === 'secret')
      .map(({ kind, id }) => ({ kind, id: taskSecretId(id, task.id) }));
    for (const { kind, id } of [...all, ...ownSecrets]) {
      const key = `${kind} ${id}`;
      const users = this.#users.get(key);
      if (users === undefined || !users.delete(task.id) || users.size > 0) continue;
      this.#users.delete(key);
      if (kind === 'secret') {
        const value = create(SecretSchema, { id });
        this.#change(kind, id, Action.REMOVE, { case: 'secret', value });
      } else {
        const value = create(ConfigSchema, { id });
        this.#change(kind, id, Action.REMOVE, { case: 'config', value });
      }
    }
  }

  #change(
    kind: Kind,
    id: string,
    action: Action,
    item: NonNullable<AssignmentChange['assignment']>['item'],
  ): void {
    const change = create(AssignmentChangeSchema, { action, assignment: { item } });
    this.#changes.set(`${kind} ${id}`, change);
  }
}

/** Secrets and configs that a task refers to, once each. */
function dependencies(task: Task): readonly Dependency[] {
  const found = new Map<string, Dependency>();
  const add = (kind: Dependency['kind'], id: string): void => {
    found.set(`${kind} ${id}`, { kind, id });
  };
  for (const reference of task.spec?.resourceReferences ?? []) {
    if (reference.resourceType === ResourceType.SECRET) add('secret', reference.resourceId);
    if (reference.resourceType === ResourceType.CONFIG) add('config', reference.resourceId);
  }
  const runtime = task.spec?.runtime;
  if (runtime?.case === 'container') {
    for (const { secretId } of runtime.value.secrets) add('secret', secretId);
    for (const { configId } of runtime.value.configs) add('config', configId);
  }
  return [...found.values()];
}

/** Whether two versions of a task are the same to an agent (SwarmKit equality.TasksEqualStable). */
function tasksEqualStable(a: Task, b: Task): boolean {
  return equals(TaskSchema, withoutObserved(a), withoutObserved(b));
}

function withoutObserved(task: Task): Task {
  const { status: _status, meta: _meta, ...stable } = task;
  return stable;
}
