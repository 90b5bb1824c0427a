/** Ids of nodes in order of their number of tasks, then by id; a change costs the same in any size. */
import { SortedIds } from '../../store/sorted-ids.js';

/** A set of nodes, least loaded first. */
export class LoadOrder {
  readonly #byTasks = new Map<number, SortedIds>();
  /** Numbers of tasks that some node has, ascending: few, since nodes are kept even. */
  readonly #loads: number[] = [];

  add(nodeId: string, tasks: number): void {
    let ids = this.#byTasks.get(tasks);
    if (ids === undefined) {
      ids = SortedIds.empty();
      this.#byTasks.set(tasks, ids);
      const at = this.#loads.findIndex((load) => load > tasks);
      this.#loads.splice(at < 0 ? this.#loads.length : at, 0, tasks);
    }
    ids.add(nodeId);
  }

  /** `tasks` as it was added. */
  remove(nodeId: string, tasks: number): void {
    const ids = this.#byTasks.get(tasks);
    if (ids === undefined) return;
    ids.remove(nodeId);
    if (ids.size > 0) return;
    this.#byTasks.delete(tasks);
    this.#loads.splice(this.#loads.indexOf(tasks), 1);
  }

  /** In order; the set must not change meanwhile. */
  *[Symbol.iterator](): Generator<string> {
    for (const load of this.#loads) yield* this.#byTasks.get(load) ?? [];
  }
}
