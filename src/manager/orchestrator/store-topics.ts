/**
 * Changes of the store by what they are about, for the many who each wait for one thing: a change is
 * told to those it concerns, however many others wait. One subscription of the store serves all.
 */
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Store, StoreEvent } from '../../store/types.js';
import { type SlotKey, slotKeyText } from './task.js';
import { hostPorts } from './task-ports.js';

/** One thing that changes: a task, the tasks of a service or slot, a node, tasks with host-mode ports. */
export type Topic =
  | `task ${string}`
  | `tasksOf ${string}`
  | `slot ${string}`
  | `node ${string}`
  | 'hostPorts';

/** The topic of a slot's tasks. */
export function slotTopic(slot: SlotKey): Topic {
  return `slot ${slotKeyText(slot)}`;
}

/** Called once for each applied entry with changes of its topics, in order. Must not throw. */
export type TopicListener = (events: readonly StoreEvent[]) => void;

/** The topics of one store. */
class StoreTopics {
  readonly #store: Store;
  readonly #listeners = new Map<Topic, Set<TopicListener>>();
  #unsubscribe: (() => void) | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  add(topic: Topic, listener: TopicListener): void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    this.#unsubscribe ??= this.#store.subscribe((events) => this.#tell(events));
  }

  remove(topic: Topic, listener: TopicListener): void {
    const listeners = this.#listeners.get(topic);
    if (listeners?.delete(listener) === true && listeners.size === 0) this.#listeners.delete(topic);
    if (this.#listeners.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  #tell(events: readonly StoreEvent[]): void {
    const news = new Map<TopicListener, StoreEvent[]>();
    for (const event of events) {
      const told = new Set<TopicListener>();
      for (const topic of topicsOf(event)) {
        for (const listener of this.#listeners.get(topic) ?? []) told.add(listener);
      }
      for (const listener of told) {
        const list = news.get(listener);
        if (list === undefined) news.set(listener, [event]);
        else list.push(event);
      }
    }
    for (const [listener, list] of news) listener(list);
  }
}

const TOPICS = new WeakMap<Store, StoreTopics>();

/** Calls `listener` for changes of any of `topics` from now on; returns the unsubscriber. */
export function subscribeTo(
  store: Store,
  topics: readonly Topic[],
  listener: TopicListener,
): () => void {
  const all = TOPICS.get(store) ?? new StoreTopics(store);
  TOPICS.set(store, all);
  for (const topic of topics) all.add(topic, listener);
  return () => {
    for (const topic of topics) all.remove(topic, listener);
  };
}

function topicsOf(event: StoreEvent): readonly Topic[] {
  if (event.table === 'node') return [`node ${event.object.id}`];
  if (event.table !== 'task') return [];
  const task: Task = event.object;
  const { serviceId, slot, nodeId } = task;
  const topics: Topic[] = [`task ${task.id}`, `tasksOf ${serviceId}`];
  // Of a replicated and of a global service; only one of them is waited for.
  topics.push(
    slotTopic({ serviceId, slot, nodeId: '' }),
    slotTopic({ serviceId, slot: 0n, nodeId }),
  );
  if (hostPorts(task).length > 0) topics.push('hostPorts');
  return topics;
}
