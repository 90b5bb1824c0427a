/** The main thread's end of the writer thread: orders out, outcomes as promises. */
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';
import { SkepError } from '../../model/errors.js';
import type { DataKey, PlainRecord } from './record.js';
import { LineGiver, newSharedLine } from './order-line.js';
import {
  packedBytes,
  packRecords,
  type WriterAnswer,
  type WriterOrder,
  type WriterThreadData,
  type WriterThreadLine,
} from './worker-protocol.js';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: SkepError) => void;
}

/** See the file's head. */
export class LogWriter {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #line: LineGiver;
  /** For each order that is not done, in their order. */
  readonly #waiting: Waiting[] = [];
  readonly #onFatal: (error: SkepError) => void;
  readonly #exited: Promise<void>;
  #failure: SkepError | undefined;
  #isClosing = false;
  #noSpace: string | undefined;

  /** @param onFatal called once when a write or flush failed; the process should end then. */
  constructor(data: WriterThreadData, onFatal: (error: SkepError) => void) {
    this.#onFatal = onFatal;
    const line = newSharedLine();
    this.#line = new LineGiver(line, () => this.#oneDone());
    const { port1, port2 } = new MessageChannel();
    const more: WriterThreadLine = { line, port: port2 };
    this.#port = port1;
    this.#port.on('message', (answer: WriterAnswer) => this.#take(answer));
    this.#worker = new Worker(new URL('./writer-thread.js', import.meta.url), {
      workerData: { ...data, ...more },
      transferList: [port2],
      execArgv: [],
      name: 'raft-log',
    });
    this.#worker.on('error', (error) => this.#fail(String(error), ''));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#takeAll();
        this.#port.close();
        if (!this.#isClosing) this.#fail('the writer thread ended', '');
        resolve();
      });
    });
  }

  /** Why there is no room for another segment, or undefined while there is. */
  get noSpace(): string | undefined {
    return this.#noSpace;
  }

  /** Appends records; with `sync` they are on disk when this resolves. */
  async append(records: readonly PlainRecord[], sync: boolean): Promise<void> {
    const failure = this.#failure;
    if (failure !== undefined) throw failure;
    if (this.#line.putAppend(records, sync)) return this.#give();
    const packed = new Uint8Array(packedBytes(records));
    packRecords(records, packed);
    return this.#order({ kind: 'append', packed, sync }, [packed.buffer]);
  }

  /** Removes segments that hold nothing but entries up to `index`. */
  async removeThrough(index: number): Promise<void> {
    await this.#order({ kind: 'removeThrough', index });
  }

  /** Tries to prepare the spare segment; {@link noSpace} then says whether that went well. */
  async prepareSpare(): Promise<void> {
    await this.#order({ kind: 'prepareSpare' });
  }

  /** Encrypts with `key` from here on; begins a new segment, so that older ones can go. */
  async useKey(key: DataKey): Promise<void> {
    await this.#order({ kind: 'useKey', key });
  }

  /** Finishes what was ordered, flushes and ends the thread. */
  async close(): Promise<void> {
    if (this.#isClosing) return this.#exited;
    this.#isClosing = true;
    if (this.#failure === undefined) await this.#order({ kind: 'close' });
    else await this.#worker.terminate();
    await this.#exited;
  }

  #order(order: WriterOrder, transfer: readonly ArrayBuffer[] = []): Promise<void> {
    const failure = this.#failure;
    if (failure !== undefined) return Promise.reject(failure);
    this.#port.postMessage(order, transfer);
    return this.#give();
  }

  /** Resolves when the order that was put or posted last is done. */
  #give(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#line.give();
    });
  }

  #oneDone(): void {
    // What the thread said before it counts from before it.
    this.#takeAll();
    this.#waiting.shift()?.resolve();
  }

  #takeAll(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      this.#take(received.message as WriterAnswer);
    }
  }

  #take(answer: WriterAnswer): void {
    switch (answer.kind) {
      case 'spare':
        this.#noSpace = answer.ready ? undefined : answer.reason;
        return;
      case 'failed':
        this.#fail(answer.reason, answer.code);
    }
  }

  #fail(reason: string, code: string): void {
    if (this.#failure !== undefined) return;
    const failure = new SkepError(
      'data_loss',
      `raft log: writing failed, nothing more can be acknowledged: ${reason}`,
      { details: { errno: code } },
    );
    this.#failure = failure;
    for (const { reject } of this.#waiting.splice(0)) reject(failure);
    this.#onFatal(failure);
  }
}
