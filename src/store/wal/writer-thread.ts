/**
 * The log's writer thread: does the blocking writes and flushes, so that a slow disk never holds
 * the event loop and with it the heartbeats. The first failed write or flush is the last: after it
 * nobody knows what is on disk, and trying again would only hide it.
 */
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { invariant } from '../../model/errors.js';
import { LineTaker } from './order-line.js';
import { RecordCipher } from './record.js';
import { SegmentWriter } from './segment-writer.js';
import {
  unpackRecords,
  type WriterAnswer,
  type WriterOrder,
  type WriterThreadData,
  type WriterThreadLine,
} from './worker-protocol.js';

const { line, port, ...data } = workerData as WriterThreadData & WriterThreadLine;
const orders = new LineTaker(line);
const cipher = new RecordCipher(data.keys);
const writer = new SegmentWriter({ ...data, cipher });

function answer(message: WriterAnswer): void {
  port.postMessage(message);
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

function append(packed: Uint8Array, sync: boolean): void {
  writer.append(unpackRecords(packed), sync);
  orders.done();
  prepareSpare();
  cipher.prepare();
}

function execute(order: Exclude<WriterOrder, { kind: 'close' }>): void {
  switch (order.kind) {
    case 'append':
      append(order.packed, order.sync);
      return;
    case 'removeThrough':
      writer.removeThrough(order.index);
      orders.done();
      prepareSpare();
      return;
    case 'prepareSpare':
      prepareSpare();
      orders.done();
      return;
    case 'useKey':
      cipher.use(order.key);
      writer.beginSegment();
      orders.done();
      prepareSpare();
  }
}

/** Blocks this thread between orders: an event loop would only make it slower to wake. */
function run(): void {
  for (;;) {
    const slot = orders.take();
    if (slot !== undefined) {
      append(slot.packed, slot.sync);
      continue;
    }
    const received = receiveMessageOnPort(port);
    invariant(received !== undefined, 'an order that is no append in the slot is a message');
    const order = received.message as WriterOrder;
    if (order.kind !== 'close') {
      execute(order);
      continue;
    }
    writer.close();
    orders.done();
    return;
  }
}

try {
  run();
} catch (error) {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  answer({ kind: 'failed', reason: String(error), code });
}
