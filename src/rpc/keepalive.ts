/**
 * Liveness of an HTTP/2 connection, for both ends. Node's server sends no pings of its own, and a
 * peer that vanished without a FIN would keep its streams for ever.
 */
import type { Http2Session } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import type { Clock, Timer } from '../model/environment.js';

/** When to ping, and how long an answer may take. */
export interface KeepaliveOptions {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/**
 * Pings `session` from now until it has closed, also while it drains; destroys it when an answer
 * stays away. The session must have an error listener.
 */
export function keepAlive(session: Http2Session, clock: Clock, options: KeepaliveOptions): void {
  let interval: Timer | undefined;
  let deadline: Timer | undefined;
  const stop = (): void => {
    interval?.cancel();
    deadline?.cancel();
  };
  const arm = (): void => {
    interval = clock.setTimer(options.intervalMs, ping);
  };
  const ping = (): void => {
    if (session.destroyed) return;
    deadline = clock.setTimer(options.timeoutMs, () => {
      const reason = new ConnectError('peer does not answer pings', Code.Unavailable);
      if (!session.destroyed) session.destroy(reason);
    });
    const sent = session.ping((error) => {
      if (error !== null) return;
      deadline?.cancel();
      if (!session.destroyed) arm();
    });
    // False: the session refuses pings. It is then closing, and the deadline sees to its end.
    if (!sent) interval = undefined;
  };
  session.once('close', stop);
  arm();
}
