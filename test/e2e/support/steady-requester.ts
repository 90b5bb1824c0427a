/**
 * An outside client under steady load whose targets change, run as a process in the client's namespace:
 *   node steady-requester.js REQUESTS_A_SECOND
 * Reads lines from standard input: `use ADDRESS:PORT,...` asks these from now on, in turn, and is answered
 * with `using` once no request to another is open; `stop` ends with a line
 * {"sent":N,"failed":N,"errors":{...}}. One connection a request; it fails when it gets no 200 answer.
 */
import http from 'node:http';
import { createInterface } from 'node:readline';

const REQUEST_TIMEOUT_MS = 10_000;

const intervalMs = 1000 / Number(process.argv[2]);
const errors: Record<string, number> = {};
const open = new Map<string, number>();
let targets: readonly string[] = [];
let sent = 0;
let failed = 0;

function count(target: string, change: number): void {
  open.set(target, (open.get(target) ?? 0) + change);
}

function requestOne(target: string): void {
  sent += 1;
  count(target, 1);
  let done = false;
  const end = (reason?: string): void => {
    if (done) return;
    done = true;
    count(target, -1);
    if (reason === undefined) return;
    failed += 1;
    const key = `${target} ${reason}`;
    errors[key] = (errors[key] ?? 0) + 1;
  };
  const [host = '', port = ''] = target.split(':');
  const options = { host, port: Number(port), path: '/', agent: false } as const;
  const request = http.get({ ...options, timeout: REQUEST_TIMEOUT_MS }, (answer) => {
    answer.resume();
    answer.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    answer.on('end', () => end(answer.statusCode === 200 ? undefined : `${answer.statusCode}`));
  });
  request.on('timeout', () => request.destroy(new Error('timeout')));
  request.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
}

function whenIdle(besides: readonly string[], then: () => void): void {
  const busy = [...open].some(([target, number]) => number > 0 && !besides.includes(target));
  if (busy) setTimeout(() => whenIdle(besides, then), 5);
  else then();
}

let next = 0;
const timer = setInterval(() => {
  const target = targets[next % targets.length];
  next += 1;
  if (target !== undefined) requestOne(target);
}, intervalMs);

createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, list = ''] = line.split(' ');
  targets = word === 'use' ? list.split(',') : [];
  if (word === 'use') {
    whenIdle(targets, () => console.log('using'));
    return;
  }
  clearInterval(timer);
  whenIdle([], () => {
    console.log(JSON.stringify({ sent, failed, errors }));
    process.exit(0);
  });
});
