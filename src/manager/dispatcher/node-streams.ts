/** The open streams of one kind, by node: who is to be woken when a node's data changes. */
import { SkepError } from '../../model/errors.js';
import { WakeFlag } from '../../rpc/wake-flag.js';
import { STREAMS_PER_NODE_MAX } from './constants.js';

/** One open stream. */
export interface NodeStream {
  readonly flag: WakeFlag;
  /** Ids of tasks to look at again; bounded by the tasks of the node. */
  readonly dirtyTasks: Set<string>;
  /** Aborted when the call ends, when its session ends, or when newer streams displace it. */
  readonly signal: AbortSignal;
}

interface Entry extends NodeStream {
  readonly displace: AbortController;
}

/** Streams by node. */
export class NodeStreams {
  readonly #entries = new Map<string, Entry[]>();

  /** Adds a stream that lives until one of `signals` aborts. The oldest gives way to the newest. */
  open(nodeId: string, signals: readonly AbortSignal[]): NodeStream {
    const displace = new AbortController();
    const signal = AbortSignal.any([...signals, displace.signal]);
    const entry: Entry = { flag: new WakeFlag(), dirtyTasks: new Set(), signal, displace };
    const entries = this.#entries.get(nodeId) ?? [];
    this.#entries.set(nodeId, [...entries, entry]);
    // The handler itself may hang in a write to a reader that went away: the signal cleans up.
    signal.addEventListener('abort', () => this.#remove(nodeId, entry), { once: true });
    if (signal.aborted) this.#remove(nodeId, entry);
    if (entries.length >= STREAMS_PER_NODE_MAX) {
      entries[0]?.displace.abort(new SkepError('resource_exhausted', 'too many streams'));
    }
    return entry;
  }

  /** The streams of a node. */
  of(nodeId: string): readonly NodeStream[] {
    return this.#entries.get(nodeId) ?? [];
  }

  /** Wakes all streams of all nodes. */
  wakeAll(): void {
    for (const entries of this.#entries.values()) for (const entry of entries) entry.flag.set();
  }

  /** Number of open streams. */
  get count(): number {
    let count = 0;
    for (const entries of this.#entries.values()) count += entries.length;
    return count;
  }

  #remove(nodeId: string, entry: Entry): void {
    const left = (this.#entries.get(nodeId) ?? []).filter((candidate) => candidate !== entry);
    if (left.length === 0) this.#entries.delete(nodeId);
    else this.#entries.set(nodeId, left);
  }
}
