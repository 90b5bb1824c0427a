/**
 * An outside client that holds connections to an echo service and opens new ones beside them, run as
 * a process in the client's namespace:
 *   node connections.js HELD_TARGETS HELD NEW_TARGETS NEW_A_SECOND
 * Targets are `address:port[,...]`, taken in turn. Prints `ready` once all connections to be held
 * have been answered, goes on until its input ends, then prints one line of JSON (ConnectionResult).
 * A held connection exchanges a byte every 20 ms; it has failed if it is refused, reset or closed,
 * or has no answer for 10 seconds.
 */
import net from 'node:net';

const EXCHANGE_PERIOD_MS = 20;
const ANSWER_LIMIT_MS = 10_000;
const FAILURES_KEPT = 1000;
const LATE_MS = 200;

/** Of one kind of connection. */
export interface ConnectionTally {
  readonly opened: number;
  readonly exchanges: number;
  readonly failed: number;
  /** Slowest exchange; the first one of a connection counts from its start. */
  readonly slowestMs: number;
  readonly errors: Readonly<Record<string, number>>;
  /** When the first thousand failed, in milliseconds since the epoch. */
  readonly failedAtMs: readonly number[];
  /** When the first thousand exchanges began that failed or took longer than 200 ms. */
  readonly lateFromMs: readonly number[];
}

/** What the client met. */
export interface ConnectionResult {
  readonly held: ConnectionTally;
  readonly fresh: ConnectionTally;
}

/** Counts as it goes. */
class Counter {
  opened = 0;
  exchanges = 0;
  failed = 0;
  slowestMs = 0;
  readonly errors: Record<string, number> = {};
  readonly failedAtMs: number[] = [];
  readonly lateFromMs: number[] = [];

  fail(reason: string, sinceMs: number): void {
    this.failed += 1;
    this.#late(sinceMs);
    this.errors[reason] = (this.errors[reason] ?? 0) + 1;
    if (this.failedAtMs.length < FAILURES_KEPT) this.failedAtMs.push(Date.now());
  }

  exchanged(sinceMs: number): void {
    this.exchanges += 1;
    const tookMs = Math.round(performance.now() - sinceMs);
    this.slowestMs = Math.max(this.slowestMs, tookMs);
    if (tookMs > LATE_MS) this.#late(sinceMs);
  }

  #late(sinceMs: number): void {
    if (this.lateFromMs.length < FAILURES_KEPT)
      this.lateFromMs.push(Math.round(performance.timeOrigin + sinceMs));
  }
}

const [heldTargets = '', heldText = '0', freshTargets = '', rateText = '0'] = process.argv.slice(2);
const held = new Counter();
const fresh = new Counter();
const heldSockets: net.Socket[] = [];
let open = 0;
let ending = false;

function targetAt(targets: string, index: number): { host: string; port: number } {
  const all = targets.split(',');
  const [host = '', port = ''] = (all[index % all.length] ?? '').split(':');
  return { host, port: Number(port) };
}

/** One connection; `again` is told of each answer and says whether another byte follows. */
function converse(
  target: { host: string; port: number },
  counter: Counter,
  again: (socket: net.Socket) => boolean,
): net.Socket {
  const socket = net.connect(target);
  let sentAtMs = performance.now();
  let over = false;
  const end = (reason?: string): void => {
    if (over) return;
    over = true;
    if (reason !== undefined && !ending) counter.fail(reason, sentAtMs);
    socket.destroy();
  };
  const exchange = (): void => {
    if (over) return;
    sentAtMs = performance.now();
    socket.write('.');
  };
  socket.setNoDelay(true);
  socket.setTimeout(ANSWER_LIMIT_MS, () => end('timeout'));
  socket.on('connect', () => {
    counter.opened += 1;
    // The first exchange counts from the start of the connection.
    if (!over) socket.write('.');
  });
  socket.on('data', () => {
    counter.exchanged(sentAtMs);
    if (again(socket)) setTimeout(exchange, EXCHANGE_PERIOD_MS);
    else {
      over = true;
      // No client port stays in TIME_WAIT.
      socket.resetAndDestroy();
    }
  });
  socket.on('end', () => end('closed'));
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  return socket;
}

const answered = new Set<net.Socket>();
let ready = false;

function announce(): void {
  ready = true;
  console.log('ready');
}

for (let index = 0; index < Number(heldText); index += 1) {
  heldSockets.push(
    converse(targetAt(heldTargets, index), held, (socket) => {
      answered.add(socket);
      if (answered.size === Number(heldText) && !ready) announce();
      return true;
    }),
  );
}

if (heldSockets.length === 0) announce();

const startMs = performance.now();
const timer = setInterval(() => {
  const due = Math.floor(((performance.now() - startMs) / 1000) * Number(rateText));
  for (; open < due; open += 1) converse(targetAt(freshTargets, open), fresh, () => false);
}, 5);

process.stdin.resume();
process.stdin.on('end', () => {
  clearInterval(timer);
  // New connections under way may still end well.
  setTimeout(() => {
    ending = true;
    const result: ConnectionResult = { held, fresh };
    console.log(JSON.stringify(result));
    process.exit(0);
  }, 1000);
});
