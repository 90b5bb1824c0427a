/**
 * The log's writer thread: does the blocking writes and flushes, so that a slow disk never holds
 * the event loop and with it the heartbeats. The first failed write or flush is the last: after it
 * nobody knows what is on disk, and trying again would only hide it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../../model/errors.js';
import { RecordCipher } from './record.js';
import { SegmentWriter } from './segment-writer.js';
import {
  unpackRecords,
  type WriterAnswer,
  type WriterOrder,
  type WriterThreadData,
} from './worker-protocol.js';

const port = parentPort;
invariant(port !== null, 'the writer thread is started as a worker');
const data = workerData as WriterThreadData;
const cipher = new RecordCipher(data.keys);
const writer = new SegmentWriter({ ...data, cipher });
let hasFailed = false;

function answer(message: WriterAnswer): void {
  port?.postMessage(message);
}

/** A full disk is no failure as long as the present segment has room. */
function prepareSpare(): void {
  if (writer.hasSpare) return;
  try {
    writer.prepareSpare();
    answer({ kind: 'spare', ready: true, reason: '' });
  } catch (error) {
    if (!isNoSpace(error)) throw error;
    answer({ kind: 'spare', ready: false, reason: String(error) });
  }
}

function isNoSpace(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function execute(order: WriterOrder): void {
  switch (order.kind) {
    case 'append':
      writer.append(unpackRecords(order.packed), order.sync);
      answer({ kind: 'done', id: order.id });
      prepareSpare();
      cipher.prepare();
      return;
    case 'removeThrough':
      writer.removeThrough(order.index);
      answer({ kind: 'done', id: order.id });
      prepareSpare();
      return;
    case 'prepareSpare':
      prepareSpare();
      answer({ kind: 'done', id: order.id });
      return;
    case 'useKey':
      cipher.use(order.key);
      writer.beginSegment();
      answer({ kind: 'done', id: order.id });
      prepareSpare();
      return;
    case 'close':
      writer.close();
      answer({ kind: 'done', id: order.id });
      port?.close();
  }
}

port.on('message', (order: WriterOrder) => {
  if (hasFailed) return;
  try {
    execute(order);
  } catch (error) {
    hasFailed = true;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    answer({ kind: 'failed', reason: String(error), code });
  }
});
