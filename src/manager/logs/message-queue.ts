/**
 * The bounded queue between the nodes that publish logs and the one reader of a subscription. A full
 * queue makes publishers wait, which over HTTP/2 makes the agents wait.
 */
import type { LogMessage } from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { WAITING_BYTES_MAX, WAITING_MESSAGES_MAX } from './constants.js';

/** First in, first out; many writers, one reader. */
export class LogMessageQueue {
  readonly #messages: LogMessage[] = [];
  #head = 0;
  #bytes = 0;
  #state: 'open' | 'finished' | 'closed' = 'open';
  #wakeReader: (() => void) | undefined;
  readonly #wakeWriters = new Set<() => void>();

  /** Adds messages; resolves when there is room for more, or at once when nobody reads any more. */
  async push(messages: readonly LogMessage[]): Promise<void> {
    if (this.#state === 'closed') return;
    for (const message of messages) {
      this.#messages.push(message);
      this.#bytes += message.data.length;
    }
    this.#wakeReader?.();
    while (this.#isFull()) {
      await new Promise<void>((resolve) => this.#wakeWriters.add(resolve));
    }
  }

  /** The next message; undefined once finished and empty, or closed. */
  async next(): Promise<LogMessage | undefined> {
    for (;;) {
      if (this.#state === 'closed') return undefined;
      const message = this.#shift();
      if (message !== undefined) return message;
      if (this.#state === 'finished') return undefined;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }

  /** No more messages will come; those that wait are still read. */
  finish(): void {
    if (this.#state === 'open') this.#state = 'finished';
    this.#wakeReader?.();
  }

  /** The reader is gone: drops everything and lets writers go. */
  close(): void {
    this.#state = 'closed';
    this.#messages.length = 0;
    this.#head = 0;
    this.#bytes = 0;
    this.#wakeReader?.();
    this.#releaseWriters();
  }

  /** A closed queue is empty. */
  #isFull(): boolean {
    const count = this.#messages.length - this.#head;
    return count >= WAITING_MESSAGES_MAX || this.#bytes >= WAITING_BYTES_MAX;
  }

  #shift(): LogMessage | undefined {
    const message = this.#messages[this.#head];
    if (message === undefined) return undefined;
    this.#head++;
    this.#bytes -= message.data.length;
    // Half of the array being consumed makes dropping that half cheap on average.
    if (this.#head * 2 > this.#messages.length) {
      this.#messages.splice(0, this.#head);
      this.#head = 0;
    }
    if (!this.#isFull()) this.#releaseWriters();
    return message;
  }

  #releaseWriters(): void {
    for (const wake of this.#wakeWriters) wake();
    this.#wakeWriters.clear();
  }
}
