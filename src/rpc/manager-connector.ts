/**
 * Finds a manager that answers: draws from the known ones by weight, tries each at most once, and
 * remembers the experience. Where none answers, it looks for them where their hosts are now.
 */
import { ConnectError } from '@connectrpc/connect';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import { fromRpcError } from './errors.js';
import { connectManager } from './manager-connection.js';
import { movedManagers } from './moved-managers.js';
import type { Remotes } from './remotes.js';
import type { IdentitySource, ManagerConnection, ManagerPeer } from './types.js';

/** Makes connections to whichever manager is best at the time. */
export class ManagerConnector {
  readonly remotes: Remotes;
  readonly #identity: IdentitySource;
  readonly #env: Environment;

  readonly #dialAddr: (peer: ManagerPeer) => string | undefined;
  readonly #isGone: (peer: ManagerPeer) => boolean;
  readonly #addressOf: (nodeId: string) => string | undefined;

  constructor(options: {
    remotes: Remotes;
    identity: IdentitySource;
    env: Environment;
    /** Where to dial instead of a peer's own address; undefined: there. */
    dialAddr?: (peer: ManagerPeer) => string | undefined;
    /** Whether a manager is known not to answer: it is tried last. */
    isGone?: (peer: ManagerPeer) => boolean;
    /** Where a node is said to be now, without port. */
    addressOf?: (nodeId: string) => string | undefined;
  }) {
    this.#addressOf = options.addressOf ?? (() => undefined);
    this.#isGone = options.isGone ?? (() => false);
    this.#dialAddr = options.dialAddr ?? (() => undefined);
    this.remotes = options.remotes;
    this.#identity = options.identity;
    this.#env = options.env;
  }

  #select(tried: ReadonlySet<string>): ManagerPeer | undefined {
    const gone = this.remotes.list().filter(({ peer }) => this.#isGone(peer));
    const except = new Set([...tried, ...gone.map(({ peer }) => peer.addr)]);
    return this.remotes.select(except) ?? this.remotes.select(tried);
  }

  async #connectMoved(): Promise<ManagerConnection | undefined> {
    const known = this.remotes.list().map(({ peer }) => peer);
    for (const peer of movedManagers(known, this.#addressOf)) {
      try {
        const options = { peer, identity: this.#identity, env: this.#env };
        return await connectManager({ ...options, mustBePeer: true });
      } catch {
        // Hearsay that was wrong: what the known addresses said is the failure.
      }
    }
    return undefined;
  }

  /**
   * Connects to one manager. Report how it went with {@link Remotes.observe} once calls were made.
   * @throws SkepError unavailable, with the text of the last failure
   */
  async connect(): Promise<ManagerConnection> {
    const tried = new Set<string>();
    let failure = new SkepError('unavailable', 'no remote managers known');
    for (;;) {
      const peer = this.#select(tried);
      if (peer === undefined) break;
      tried.add(peer.addr);
      try {
        return await connectManager({
          peer,
          dialAddr: this.#dialAddr(peer),
          identity: this.#identity,
          env: this.#env,
        });
      } catch (error) {
        this.remotes.observe(peer.addr, 'bad');
        failure = fromRpcError(ConnectError.from(error));
      }
    }
    return (await this.#connectMoved()) ?? Promise.reject(failure);
  }
}
