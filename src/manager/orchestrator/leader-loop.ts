/**
 * What the leader's loops have in common: each takes in the store as it is at its start and every
 * change from then on, notes what is to be looked at, and works that off in passes of a
 * {@link ReconcileLoop}.
 */
import type { Environment } from '../../model/environment.js';
import type { Logger } from '../../observe/logger.js';
import type { ReadTransaction, Store, StoreEvent } from '../../store/types.js';
import { type Debounce, ReconcileLoop } from './reconcile-loop.js';

/** What a loop works with. */
export interface LeaderLoopOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** One loop of one term of leadership. */
export abstract class LeaderLoop {
  protected readonly store: Store;
  protected readonly environment: Environment;
  protected readonly logger: Logger;
  protected readonly loop: ReconcileLoop;
  #unsubscribe = (): void => undefined;

  /** `name` stands in the lines it logs. */
  constructor({ store, environment, logger }: LeaderLoopOptions, name: string) {
    this.store = store;
    this.environment = environment;
    this.logger = logger.child({ loop: name });
    this.loop = new ReconcileLoop({ environment, logger: this.logger, pass: () => this.pass() });
  }

  /** Begins to work from what the store holds. */
  start(): void {
    const { unsubscribe } = this.store.viewAndSubscribe(
      (transaction) => this.observeAll(transaction),
      (events) => {
        for (const event of events) this.observe(event);
        const debounce = this.due();
        if (debounce !== undefined) this.loop.trigger(debounce);
      },
    );
    this.#unsubscribe = unsubscribe;
    this.loop.trigger();
  }

  /** Ends after the pass under way. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.loop.stop();
  }

  /** Notes everything there is, at start. */
  protected abstract observeAll(transaction: ReadTransaction): void;

  /** Notes a change; called synchronously for each. */
  protected abstract observe(event: StoreEvent): void;

  /** When the changes just noted want a pass; undefined: not at all, or the loop has triggered it. */
  protected due(): Debounce | undefined {
    return undefined;
  }

  /** Works off what was noted. What it throws has it repeated. */
  protected abstract pass(): Promise<void>;
}
