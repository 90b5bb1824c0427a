/**
 * Brings logs from nodes to readers (SwarmKit manager/logbroker): readers subscribe here, nodes
 * listen for subscriptions and publish what they have. Nothing is stored.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type LogMessage,
  type LogSelector,
  type LogSubscriptionOptions,
  type PublishLogsMessage,
  type SubscriptionMessage,
} from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { newId } from '../../model/ids.js';
import { WakeFlag } from '../../rpc/wake-flag.js';
import type { Store, StoreEvent } from '../../store/types.js';
import type { LogSource } from '../control/types.js';
import { SUBSCRIPTIONS_MAX } from './constants.js';
import { LogSubscription } from './subscription.js';

/** A node's open ListenSubscriptions call; what to tell is derived, not queued. */
interface Listener {
  readonly flag: WakeFlag;
  /** Subscriptions the node was told of. */
  readonly told: Map<string, LogSubscription>;
}

/** Runs on the leader, from `start` to `stop`. */
export class LogBroker implements LogSource {
  readonly #store: Store;
  readonly #env: Environment;
  readonly #subscriptions = new Map<string, LogSubscription>();
  readonly #listeners = new Map<string, Set<Listener>>();
  #stopped: AbortController | undefined;
  #unsubscribe: (() => void) | undefined;

  constructor(options: { store: Store; env: Environment }) {
    this.#store = options.store;
    this.#env = options.env;
  }

  /** Takes subscriptions and nodes from now on. Idempotent. */
  start(): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = new AbortController();
    this.#unsubscribe = this.#store.subscribe((events) => this.#onEvents(events));
  }

  /** Ends all streams. Idempotent. */
  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    for (const subscription of this.#subscriptions.values()) subscription.queue.close();
    this.#stopped?.abort(new SkepError('aborted', 'log broker is stopped'));
    this.#stopped = undefined;
  }

  /**
   * Lines of all matching tasks as nodes deliver them. Without `follow` it ends when every node has
   * delivered, and throws at its very end if something was missing.
   * @throws SkepError invalid_argument `log selector must be provided`; unknown `warning: incomplete
   *   log stream. …`; canceled by `signal`
   */
  async *subscribe(
    selector: LogSelector,
    options: LogSubscriptionOptions,
    signal: AbortSignal,
  ): AsyncGenerator<LogMessage> {
    const { taskIds, serviceIds, nodeIds } = selector;
    if (taskIds.length + serviceIds.length + nodeIds.length === 0) {
      throw new SkepError('invalid_argument', 'log selector must be provided');
    }
    const stopped = this.#checkRunning();
    if (this.#subscriptions.size >= SUBSCRIPTIONS_MAX) {
      throw new SkepError('resource_exhausted', 'too many log subscriptions');
    }
    const subscription = new LogSubscription(newId(this.#env.random), selector, options);
    const close = (): void => subscription.queue.close();
    signal.addEventListener('abort', close, { once: true });
    if (signal.aborted) close();
    this.#subscriptions.set(subscription.id, subscription);
    try {
      this.#engage(
        subscription,
        this.#store.view((read) => subscription.match(read)),
      );
      subscription.finishIfComplete();
      for (;;) {
        const message = await subscription.queue.next();
        if (message === undefined) break;
        yield message;
      }
      if (signal.aborted) throw new SkepError('canceled', 'context canceled');
      if (stopped.aborted) throw stopped.reason;
      const failure = subscription.failure();
      if (failure !== undefined) throw failure;
    } finally {
      signal.removeEventListener('abort', close);
      this.#retire(subscription);
    }
  }

  /** ListenSubscriptions: what `nodeId` is to publish, and what no longer. */
  async *listen(nodeId: string, signal: AbortSignal): AsyncGenerator<SubscriptionMessage> {
    const stopped = this.#checkRunning();
    const listener: Listener = { flag: new WakeFlag(), told: new Map() };
    const listeners = this.#listeners.get(nodeId) ?? new Set();
    this.#listeners.set(nodeId, listeners.add(listener));
    const ended = AbortSignal.any([signal, stopped]);
    // Signal-driven, because the handler may hang in a write to a reader that went away.
    ended.addEventListener('abort', () => this.#disconnect(nodeId, listener), { once: true });
    try {
      do {
        yield* this.#news(nodeId, listener);
      } while (await listener.flag.wait(ended));
      if (ended.reason instanceof SkepError) throw ended.reason;
    } finally {
      this.#disconnect(nodeId, listener);
    }
  }

  /**
   * PublishLogs: takes a node's messages for one subscription.
   * @throws SkepError invalid_argument | not_found | permission_denied with SwarmKit's texts
   */
  async publish(nodeId: string, messages: AsyncIterable<PublishLogsMessage>): Promise<void> {
    this.#checkRunning();
    let current: LogSubscription | undefined;
    try {
      for await (const message of messages) {
        current ??= this.#subscriptionOf(nodeId, message.subscriptionId);
        if (message.subscriptionId !== current.id) {
          throw new SkepError('invalid_argument', 'different subscription IDs in the same session');
        }
        if (message.close) break;
        checkOrigin(nodeId, message.messages);
        await current.queue.push(message.messages);
      }
      current?.done(nodeId);
    } catch (error) {
      current?.done(nodeId, `node ${nodeId} disconnected unexpectedly`);
      throw error;
    }
  }

  #checkRunning(): AbortSignal {
    if (this.#stopped !== undefined) return this.#stopped.signal;
    throw new SkepError('aborted', 'log broker is stopped');
  }

  #subscriptionOf(nodeId: string, id: string): LogSubscription {
    if (id === '') throw new SkepError('invalid_argument', 'missing subscription ID');
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined || !subscription.hasNode(nodeId)) {
      throw new SkepError('not_found', 'unknown subscription ID');
    }
    return subscription;
  }

  /** Tells nodes of a subscription; those that do not listen count as failed. */
  #engage(subscription: LogSubscription, nodeIds: readonly string[]): void {
    for (const nodeId of nodeIds) {
      if (this.#listeners.has(nodeId)) this.#wake(nodeId);
      else subscription.done(nodeId, `node ${nodeId} is not available`);
    }
  }

  #retire(subscription: LogSubscription): void {
    subscription.queue.close();
    this.#subscriptions.delete(subscription.id);
    for (const nodeId of this.#listeners.keys()) {
      if (subscription.hasNode(nodeId)) this.#wake(nodeId);
    }
  }

  #wake(nodeId: string): void {
    for (const listener of this.#listeners.get(nodeId) ?? []) listener.flag.set();
  }

  *#news(nodeId: string, listener: Listener): Generator<SubscriptionMessage> {
    for (const subscription of [...listener.told.values()]) {
      if (this.#subscriptions.has(subscription.id)) continue;
      listener.told.delete(subscription.id);
      yield subscription.message(true);
    }
    for (const subscription of [...this.#subscriptions.values()]) {
      if (!subscription.hasNode(nodeId) || listener.told.has(subscription.id)) continue;
      listener.told.set(subscription.id, subscription);
      yield subscription.message(false);
    }
  }

  #disconnect(nodeId: string, listener: Listener): void {
    const listeners = this.#listeners.get(nodeId);
    if (listeners === undefined || !listeners.delete(listener)) return;
    if (listeners.size > 0) return;
    this.#listeners.delete(nodeId);
    for (const subscription of this.#subscriptions.values()) {
      subscription.done(nodeId, `node ${nodeId} disconnected unexpectedly`);
    }
  }

  #onEvents(events: readonly StoreEvent[]): void {
    for (const subscription of this.#subscriptions.values()) {
      if (!subscription.follows) continue;
      const isConcerned = events.some(
        (event) =>
          event.table === 'task' && event.kind !== 'remove' && subscription.matches(event.object),
      );
      if (!isConcerned) continue;
      this.#engage(
        subscription,
        this.#store.view((read) => subscription.match(read)),
      );
    }
  }
}

/** Logs must come from the node that says so. */
function checkOrigin(nodeId: string, messages: readonly LogMessage[]): void {
  for (const { context } of messages) {
    if (context?.nodeId === nodeId) continue;
    throw new SkepError(
      'permission_denied',
      `invalid NodeID: expected=${nodeId};received=${context?.nodeId ?? ''}`,
    );
  }
}
