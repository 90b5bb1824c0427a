/** What the leader's loops have to tell beside changes of objects, for `/events` of the manager that leads. */

/** One such thing, about a service. */
export interface Notice {
  readonly action: 'autoscale';
  readonly serviceId: string;
  readonly serviceName: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** Must not throw. */
export type NoticeListener = (notice: Notice) => void;

/** Passes notices to whoever listens at the moment. */
export class Notices {
  readonly #listeners = new Set<NoticeListener>();

  /** Calls `listener` for each from now on; returns the unsubscriber. */
  subscribe(listener: NoticeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(notice: Notice): void {
    for (const listener of this.#listeners) listener(notice);
  }
}
