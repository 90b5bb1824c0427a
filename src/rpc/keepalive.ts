/**
 * Liveness of an HTTP/2 connection, for both ends. Node's server sends no pings of its own, and a
 * peer that vanished without a FIN would keep its streams for ever.
 */
import type { Http2Session } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import type { Clock, Timer } from '../model/environment.js';
import { reconnectSpreadMs } from '../model/reconnect.js';
import { PING_INTERVAL_MS } from './limits.js';

/** When to ping, and how long an answer may take. */
export interface KeepaliveOptions {
  /** A ping is sent when so long nothing came from the peer; asked anew before each wait. */
  readonly intervalMs: () => number;
  readonly timeoutMs: number;
}

/**
 * For how long one of so many peers may be silent before it is asked: 5 s for up to 1,250, and longer for
 * more, so that asking does not become a load of its own. Nodes' heartbeats are slower there, too.
 */
export function silenceAllowedMs(peers: number): number {
  return Math.max(PING_INTERVAL_MS, reconnectSpreadMs(peers));
}

/**
 * Pings `session` when it is silent, from now until it has closed, also while it drains; destroys it
 * when an answer stays away. A peer that speaks anyway is not asked: a manager has thousands of them.
 * The session must have an error listener.
 */
export function keepAlive(session: Http2Session, clock: Clock, options: KeepaliveOptions): void {
  let interval: Timer | undefined;
  let deadline: Timer | undefined;
  const stop = (): void => {
    interval?.cancel();
    deadline?.cancel();
  };
  let bytesSeen = 0;
  const arm = (): void => {
    interval = clock.setTimer(options.intervalMs(), look);
  };
  const look = (): void => {
    if (session.destroyed) return;
    const bytes = session.socket.bytesRead;
    if (bytes === bytesSeen) {
      ping();
      return;
    }
    bytesSeen = bytes;
    arm();
  };
  const ping = (): void => {
    if (session.destroyed) return;
    // In two halves: after this process stood still, what has arrived meanwhile must be read first.
    const halfMs = options.timeoutMs / 2;
    deadline = clock.setTimer(halfMs, () => {
      deadline = clock.setTimer(halfMs, () => {
        const reason = new ConnectError('peer does not answer pings', Code.Unavailable);
        if (!session.destroyed) session.destroy(reason);
      });
    });
    const sent = session.ping((error) => {
      if (error !== null) return;
      deadline?.cancel();
      if (session.destroyed) return;
      bytesSeen = session.socket.bytesRead;
      arm();
    });
    // False: the session refuses pings. It is then closing, and the deadline sees to its end.
    if (!sent) interval = undefined;
  };
  session.once('close', stop);
  arm();
}
