/**
 * Several asynchronous sources read as one, in the order their items arrive. Bounded: a source is
 * not asked for more while the queue is full.
 */
import { WakeFlag } from './async.js';

/** A bounded queue fed by any number of sources, read by one. */
export class MergedQueue<T> {
  private readonly items: T[] = [];
  private readonly arrived = new WakeFlag();
  private roomWaiters: (() => void)[] = [];
  private open = 0;
  private closing = false;

  constructor(private readonly limit: number) {}

  /** Adds a source, which is read until it ends; its errors end it. */
  source(items: AsyncIterable<T>): void {
    this.open += 1;
    this.drain(items)
      .catch(() => undefined)
      .finally(() => {
        this.open -= 1;
        this.arrived.raise();
      });
  }

  /** No further sources: the queue ends with the last of them. */
  closeWhenDone(): void {
    this.closing = true;
    this.arrived.raise();
  }

  /** Up to `max` items as soon as there is one; none once the queue has ended. */
  async take(max: number, signal: AbortSignal): Promise<T[]> {
    while (this.items.length === 0) {
      if (this.closing && this.open === 0) return [];
      await this.arrived.wait(signal);
    }
    const taken = this.items.splice(0, max);
    const waiters = this.roomWaiters;
    this.roomWaiters = [];
    for (const wake of waiters) wake();
    return taken;
  }

  private async drain(items: AsyncIterable<T>): Promise<void> {
    for await (const item of items) {
      while (this.items.length >= this.limit) {
        await new Promise<void>((resolve) => this.roomWaiters.push(resolve));
      }
      this.items.push(item);
      this.arrived.raise();
    }
  }
}
