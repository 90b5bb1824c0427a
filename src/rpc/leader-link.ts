/**
 * This manager's own calls to whoever leads: one connection, made again when the leader is another
 * or the connection has ended.
 */
import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { ClientSession } from './client-session.js';
import { fromRpcError } from './errors.js';
import { grpcTransport } from './manager-connection.js';
import { managerTls } from './peer.js';
import type { IdentitySource } from './types.js';

/** A manager that cannot be reached is not dialled again sooner. */
const REDIAL_PAUSE_MS = 100;

/** See the file's head. */
export class LeaderLink {
  readonly #identity: IdentitySource;
  readonly #env: Environment;
  readonly #unsubscribe: () => void;
  #current:
    | { readonly addr: string; readonly session: ClientSession; readonly dialledMs: number }
    | undefined;

  constructor(options: { identity: IdentitySource; env: Environment }) {
    this.#identity = options.identity;
    this.#env = options.env;
    // The next call goes out under the new certificate; open ones end in peace.
    this.#unsubscribe = options.identity.subscribe(() => {
      this.#current?.session.drain();
      this.#current = undefined;
    });
  }

  /**
   * A transport to the manager at `addr`, whose connection is up.
   * @throws SkepError unavailable, marked as not proposed: nothing was sent
   */
  async to(addr: string): Promise<Transport> {
    let current = this.#current;
    const nowMs = this.#env.clock.monotonicMs();
    // Until it is dialled again, all calls share the failure: a manager may have hundreds of them waiting.
    const isUsable =
      current?.addr === addr &&
      (!current.session.ended.aborted || nowMs - current.dialledMs < REDIAL_PAUSE_MS);
    if (current === undefined || !isUsable) {
      current?.session.destroy(new ConnectError('another manager leads', Code.Unavailable));
      current = { addr, session: this.#dial(addr), dialledMs: nowMs };
      this.#current = current;
    }
    try {
      await current.session.open();
      return grpcTransport(current.session);
    } catch (reason) {
      const { message } = fromRpcError(reason);
      throw new SkepError('unavailable', message, { cause: reason, details: { proposed: false } });
    }
  }

  /** Ends the connection. Idempotent. */
  close(): void {
    this.#unsubscribe();
    this.#current?.session.destroy(new ConnectError('manager is stopping', Code.Canceled));
    this.#current = undefined;
  }

  #dial(addr: string): ClientSession {
    const identity = this.#identity.current();
    return new ClientSession({
      addr,
      clock: this.#env.clock,
      tls: managerTls(identity),
    });
  }
}
