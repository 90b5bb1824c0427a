/**
 * A program: what the disk itself gives to a writer of a log. Writes records one after the other into a
 * zero-filled file and flushes each, as the log's writer thread does, and prints how long that took;
 * with `woken` each time only when the main thread asks for it, as the writer thread is.
 *   node flush-loop.js DIRECTORY SECONDS RECORD_BYTES [woken]
 */
import { closeSync, fdatasyncSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { createZeroed, writeFully } from '../../src/store/wal/files.js';
import { summaryOf } from './latencies.js';

const FILE_BYTES = 8 * 1024 * 1024;
const WARM_UP_MS = 300;

/** A file to write records into, from the beginning again when it is full. */
class RecordFile {
  readonly #path: string;
  readonly #descriptor: number;
  readonly #record: Buffer;
  #at = 0;

  constructor(directory: string, recordBytes: number) {
    this.#path = join(directory, `flush-loop-${process.pid}`);
    this.#record = Buffer.alloc(recordBytes, 1);
    createZeroed(this.#path, FILE_BYTES);
    this.#descriptor = openSync(this.#path, 'r+');
  }

  /** Writes and flushes one record; returns how long that took, in ms. */
  write(): number {
    if (this.#at + this.#record.length > FILE_BYTES) this.#at = 0;
    const startMs = performance.now();
    writeFully(this.#descriptor, this.#record, this.#at);
    fdatasyncSync(this.#descriptor);
    this.#at += this.#record.length;
    return performance.now() - startMs;
  }

  remove(): void {
    closeSync(this.#descriptor);
    rmSync(this.#path);
  }
}

interface FileOptions {
  readonly directory: string;
  readonly recordBytes: number;
}

if (isMainThread) {
  const [directory = '', secondsText = '', bytesText = '', mode] = process.argv.slice(2);
  const options: FileOptions = { directory, recordBytes: Number(bytesText) };
  const durationMs = Number(secondsText) * 1000;
  const took = mode === 'woken' ? await woken(options, durationMs) : straight(options, durationMs);
  console.log(JSON.stringify(summaryOf(took, durationMs)));
} else {
  const { directory, recordBytes } = workerData as FileOptions;
  const file = new RecordFile(directory, recordBytes);
  parentPort?.on('message', (isMore: boolean) => {
    parentPort?.postMessage(isMore ? file.write() : 0, []);
    if (isMore) return;
    file.remove();
    parentPort?.close();
  });
}

function straight({ directory, recordBytes }: FileOptions, durationMs: number): number[] {
  const file = new RecordFile(directory, recordBytes);
  const took: number[] = [];
  const fromMs = performance.now() + WARM_UP_MS;
  for (let nowMs = 0; nowMs < fromMs + durationMs; nowMs = performance.now()) {
    const ms = file.write();
    if (nowMs >= fromMs) took.push(ms);
  }
  file.remove();
  return took;
}

async function woken(options: FileOptions, durationMs: number): Promise<number[]> {
  const thread = new Worker(new URL(import.meta.url), { workerData: options });
  const took: number[] = [];
  const fromMs = performance.now() + WARM_UP_MS;
  for (let nowMs = 0; nowMs < fromMs + durationMs; nowMs = performance.now()) {
    thread.postMessage(true, []);
    const ms = await new Promise<number>((resolve) => thread.once('message', resolve));
    if (nowMs >= fromMs) took.push(ms);
  }
  thread.postMessage(false, []);
  await new Promise((resolve) => thread.once('exit', resolve));
  return took;
}
