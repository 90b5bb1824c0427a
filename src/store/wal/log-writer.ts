/** The main thread's end of the writer thread: orders out, outcomes as promises. */
import { Worker } from 'node:worker_threads';
import { SkepError } from '../../model/errors.js';
import type { DataKey, PlainRecord } from './record.js';
import {
  packRecords,
  type WriterAnswer,
  type WriterOrder,
  type WriterThreadData,
} from './worker-protocol.js';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: SkepError) => void;
}

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/** See the file's head. */
export class LogWriter {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onFatal: (error: SkepError) => void;
  readonly #exited: Promise<void>;
  #nextId = 1;
  #failure: SkepError | undefined;
  #isClosing = false;
  #noSpace: string | undefined;

  /** @param onFatal called once when a write or flush failed; the process should end then. */
  constructor(data: WriterThreadData, onFatal: (error: SkepError) => void) {
    this.#onFatal = onFatal;
    this.#worker = new Worker(new URL('./writer-thread.js', import.meta.url), {
      workerData: data,
      execArgv: [],
      name: 'raft-log',
    });
    this.#worker.on('message', (answer: WriterAnswer) => this.#take(answer));
    this.#worker.on('error', (error) => this.#fail(String(error), ''));
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', () => {
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
    const packed = packRecords(records);
    await this.#order({ kind: 'append', packed, sync }, [packed.buffer]);
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

  #order(order: WithoutId<WriterOrder>, transfer: readonly ArrayBuffer[] = []): Promise<void> {
    const failure = this.#failure;
    if (failure !== undefined) return Promise.reject(failure);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...order, id }, transfer);
    });
  }

  #take(answer: WriterAnswer): void {
    switch (answer.kind) {
      case 'done': {
        const waiting = this.#waiting.get(answer.id);
        this.#waiting.delete(answer.id);
        waiting?.resolve();
        return;
      }
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
    for (const { reject } of this.#waiting.values()) reject(failure);
    this.#waiting.clear();
    this.#onFatal(failure);
  }
}
