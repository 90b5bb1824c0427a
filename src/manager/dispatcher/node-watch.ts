/**
 * What becomes of nodes that fall silent: down, or, while the data path of the node still answers,
 * unknown for a bounded time (a stopped agent does not stop its containers). Nodes that stay down
 * for a day have their tasks given up.
 */
import { runsSkepd } from '../../model/agent-kind.js';
import type { Environment, Timer } from '../../model/environment.js';
import { NodeStatus_State } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { AGENT_GRACE_LABEL, RESCHEDULE_AFTER_LABEL } from '../../model/labels/keys.js';
import { durationLabelMs } from '../../model/labels/read.js';
import { isOnNode } from '../../model/task-state.js';
import type { Logger } from '../../observe/logger.js';
import type { Store } from '../../store/types.js';
import { orphanTask } from '../orchestrator/lost-tasks.js';
import {
  MESSAGE_AGENT_SILENT,
  MISSING_NODE_CHECK_MS,
  NODE_DOWN_PERIOD_MS,
  SEEN_LATELY_MS,
  SILENT_AGENT_CHECK_MS,
  UNSEEN_GRACE_MS,
} from './constants.js';
import type { StatusWriter } from './status-writer.js';

/** An agent that is silent. */
interface Silence {
  readonly nodeId: string;
  /** Why the node is down, should it be. */
  readonly message: string;
  /** Since when its heartbeats are missed, monotonic. */
  readonly sinceMs: number;
  /** It is down then in any case, monotonic. */
  readonly untilMs: number;
  /** Whether it was written that the node answers. */
  readonly said?: boolean;
}

/** Timers of silent nodes. */
export class NodeWatch {
  readonly #store: Store;
  readonly #env: Environment;
  readonly #logger: Logger;
  readonly #writer: StatusWriter;
  readonly #clusterId: string;
  readonly #silenceMs: (nodeId: string) => number;
  readonly #timers = new Map<string, Timer>();

  constructor(options: {
    store: Store;
    env: Environment;
    logger: Logger;
    writer: StatusWriter;
    clusterId: string;
    /** For how long the node has surely been silent, in gossip and data path; infinite if unknown. */
    silenceMs: (nodeId: string) => number;
  }) {
    this.#store = options.store;
    this.#env = options.env;
    this.#logger = options.logger;
    this.#writer = options.writer;
    this.#clusterId = options.clusterId;
    this.#silenceMs = options.silenceMs;
  }

  /**
   * The node's agent fell silent; `message` says why, if it is down. Of stock engines nothing else
   * is known than what their agents say.
   */
  silent(nodeId: string, message: string): void {
    const isOurs = runsSkepd(this.#store.view((read) => read.get('node', nodeId)));
    if (!isOurs) this.down(nodeId, message);
    else {
      const sinceMs = this.#now();
      const untilMs = sinceMs + this.#settingMs(AGENT_GRACE_LABEL);
      this.#judge({ nodeId, message, sinceMs, untilMs });
    }
  }

  /**
   * After a change of leader, until the node registers here or its grace is over: it is down as soon as
   * gossip and data path, which this manager has followed all the time, are silent for long enough.
   */
  lookFor(nodeId: string, message: string): void {
    if (!runsSkepd(this.#store.view((read) => read.get('node', nodeId)))) return;
    if (this.isLost(nodeId)) this.down(nodeId, message);
    else this.#set(nodeId, MISSING_NODE_CHECK_MS, () => this.lookFor(nodeId, message));
  }

  /** Whether gossip and data path, which know the node, have been without it for so long that it is lost. */
  isLost(nodeId: string): boolean {
    if (!runsSkepd(this.#store.view((read) => read.get('node', nodeId)))) return false;
    const silenceMs = this.#silenceMs(nodeId);
    return Number.isFinite(silenceMs) && this.#lostInMs(silenceMs) <= 0;
  }

  /** Marks the node down and starts the day after which its tasks are orphaned. */
  down(nodeId: string, message: string): void {
    this.#logger.warn({ nodeId, message }, 'node is down');
    this.#write(nodeId, NodeStatus_State.DOWN, message);
    this.watchDown(nodeId);
  }

  /** Starts the day for a node that is down already. */
  watchDown(nodeId: string): void {
    this.#set(nodeId, NODE_DOWN_PERIOD_MS, () => {
      this.#timers.delete(nodeId);
      this.#orphanTasks(nodeId).catch((error: unknown) => {
        this.#logger.warn({ nodeId, error: String(error) }, 'orphaning tasks failed');
      });
    });
  }

  /** The node is back, or gone for good. */
  forget(nodeId: string): void {
    this.#timers.get(nodeId)?.cancel();
    this.#timers.delete(nodeId);
  }

  /** Stops all timers. */
  stop(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #now(): number {
    return this.#env.clock.monotonicMs();
  }

  /** A setting of the cluster. */
  #settingMs(label: string): number {
    const cluster = this.#store.view((read) => read.get('cluster', this.#clusterId));
    return durationLabelMs(label, cluster?.spec?.annotations?.labels);
  }

  #judge(silence: Silence): void {
    const { nodeId, message, sinceMs, untilMs, said = false } = silence;
    const silenceMs = this.#silenceMs(nodeId);
    const answers = silenceMs < SEEN_LATELY_MS;
    const leftMs = Number.isFinite(silenceMs)
      ? this.#lostInMs(silenceMs)
      : sinceMs + UNSEEN_GRACE_MS - this.#now();
    if (this.#now() >= untilMs || leftMs <= 0) {
      this.down(nodeId, message);
      return;
    }
    if (answers && !said) {
      this.#logger.warn({ nodeId }, 'agent is silent, but the node answers');
      this.#write(nodeId, NodeStatus_State.UNKNOWN, MESSAGE_AGENT_SILENT);
    }
    const next = { ...silence, said: said || answers };
    this.#set(nodeId, Math.min(leftMs, SILENT_AGENT_CHECK_MS), () => this.#judge(next));
  }

  /** When a node that has been silent for so long is lost; one that was seen lately is not, whatever is set. */
  #lostInMs(silenceMs: number): number {
    const afterMs = Math.max(this.#settingMs(RESCHEDULE_AFTER_LABEL), SEEN_LATELY_MS);
    return afterMs - silenceMs;
  }

  #set(nodeId: string, delayMs: number, callback: () => void): void {
    this.forget(nodeId);
    this.#timers.set(nodeId, this.#env.clock.setTimer(delayMs, callback));
  }

  #write(nodeId: string, state: NodeStatus_State, message: string): void {
    // A failure means that leadership is lost; the next leader judges anew, and it was logged.
    this.#writer.writeNode(nodeId, { state, message }).catch(() => undefined);
  }

  /** Tasks that may have made progress unseen are given up, so that their resources are free. */
  async #orphanTasks(nodeId: string): Promise<void> {
    const tasks = this.#store.view((read) => read.find('task', { by: 'node', nodeId }));
    const outcomes = await this.#store.batch(
      tasks.filter(isOnNode).map(
        ({ id }) =>
          (write) =>
            orphanTask(write, this.#env, id),
      ),
    );
    const failed = outcomes.find((outcome) => outcome !== undefined);
    if (failed !== undefined) throw failed;
  }
}
