/**
 * An outside client under steady load, run as a process in the client's namespace:
 *   node requester.js ADDRESS:PORT[,ADDRESS:PORT...] REQUESTS_A_SECOND SECONDS
 * One connection a request; prints {"sent":N,"failed":N,"errors":{...}} at the end. A request
 * fails when it gets no 200 answer within its time limit.
 */
import http from 'node:http';

const REQUEST_TIMEOUT_MS = 10_000;

const [targets = '', rateText = '', secondsText = ''] = process.argv.slice(2);
const addresses = targets.split(',').map((target) => {
  const [host = '', port = ''] = target.split(':');
  return { host, port: Number(port) };
});
const total = Number(rateText) * Number(secondsText);
const intervalMs = 1000 / Number(rateText);
const errors: Record<string, number> = {};
let sent = 0;
let ended = 0;
let failed = 0;

function fail(reason: string): void {
  failed += 1;
  errors[reason] = (errors[reason] ?? 0) + 1;
}

function finishOne(): void {
  ended += 1;
  if (ended === total) console.log(JSON.stringify({ sent, failed, errors }));
}

function requestOne(): void {
  const target = addresses[sent % addresses.length];
  sent += 1;
  let done = false;
  const end = (reason?: string): void => {
    if (done) return;
    done = true;
    if (reason !== undefined) fail(reason);
    finishOne();
  };
  const request = http.get(
    { ...target, path: '/', agent: false, timeout: REQUEST_TIMEOUT_MS },
    (answer) => {
      answer.resume();
      answer.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
      answer.on('end', () => end(answer.statusCode === 200 ? undefined : `${answer.statusCode}`));
    },
  );
  request.on('timeout', () => request.destroy(new Error('timeout')));
  request.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
}

const startMs = performance.now();
const timer = setInterval(() => {
  // Catches up after a late timer, so that the rate holds on a busy machine.
  const due = Math.min(total, Math.floor((performance.now() - startMs) / intervalMs));
  while (sent < due) requestOne();
  if (sent === total) clearInterval(timer);
}, 5);
