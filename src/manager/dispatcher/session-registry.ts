/**
 * The sessions of nodes with this dispatcher and the timers of their heartbeats. A node has at most
 * one session; a new one ends the old. Texts are SwarmKit's.
 */
import type { Clock, Environment, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import { LAST_CHANCE_MS, REGISTRATION_PERIOD_MS, REGISTRATIONS_MAX } from './constants.js';

/** A node's session. */
export interface Session {
  readonly nodeId: string;
  readonly sessionId: string;
  /** Aborted when the session is over; the reason is the SkepError for its streams. */
  readonly ended: AbortSignal;
}

interface OpenSession extends Session {
  readonly end: AbortController;
}

/** Sessions and heartbeat timers. */
export class SessionRegistry {
  readonly #env: Environment;
  readonly #onSilent: (nodeId: string) => void;
  readonly #moreGraceMs: (nodeId: string) => number;
  readonly #sessions = new Map<string, OpenSession>();
  readonly #timers = new Map<string, Timer>();
  readonly #registrations: RateLimit;

  constructor(options: {
    env: Environment;
    /** A node's grace is over: for how much longer it is waited for; default 0. */
    moreGraceMs?: (nodeId: string) => number;
    /** A node's grace is over; its session, if it had one, has just ended. */
    onSilent: (nodeId: string) => void;
  }) {
    this.#env = options.env;
    this.#onSilent = options.onSilent;
    this.#moreGraceMs = options.moreGraceMs ?? (() => 0);
    this.#registrations = new RateLimit(options.env.clock);
  }

  /** Counts an attempt to register. @throws SkepError unavailable `node %s exceeded rate limit …` */
  checkRate(nodeId: string): void {
    this.#registrations.check(nodeId);
  }

  /** Opens a session; the node must be heard of within `graceMs`. */
  open(nodeId: string, graceMs: number): Session {
    this.close(nodeId, new SkepError('invalid_argument', 'session invalid'));
    const end = new AbortController();
    const sessionId = newId(this.#env.random);
    const session = { nodeId, sessionId, end, ended: end.signal };
    this.#sessions.set(nodeId, session);
    this.expect(nodeId, graceMs);
    return session;
  }

  /**
   * The node's session, if it is this one.
   * @throws SkepError not_found `node not registered`; invalid_argument `session invalid`
   */
  get(nodeId: string, sessionId: string): Session {
    const session = this.#sessions.get(nodeId);
    if (session === undefined) throw new SkepError('not_found', 'node not registered');
    if (sessionId === '' || session.sessionId !== sessionId) {
      throw new SkepError('invalid_argument', 'session invalid');
    }
    return session;
  }

  /** Whether the node has a session. */
  has(nodeId: string): boolean {
    return this.#sessions.has(nodeId);
  }

  /** (Re)starts the node's timer; also for nodes without a session. */
  expect(nodeId: string, graceMs: number): void {
    const { clock } = this.#env;
    this.#timers.get(nodeId)?.cancel();
    const silent = (): void => {
      const moreMs = this.#moreGraceMs(nodeId);
      if (moreMs > 0) {
        this.#timers.set(nodeId, clock.setTimer(moreMs, silent));
        return;
      }
      this.close(nodeId, new SkepError('aborted', 'node must disconnect'));
      this.#onSilent(nodeId);
    };
    // In two parts: after this process stood still, heartbeats that have arrived meanwhile come first.
    const lastMs = Math.min(graceMs / 2, LAST_CHANCE_MS);
    const wait = clock.setTimer(graceMs - lastMs, () => {
      this.#timers.set(nodeId, clock.setTimer(lastMs, silent));
    });
    this.#timers.set(nodeId, wait);
  }

  /** Ends the node's session, if any, with `reason`, and stops its timer. */
  close(nodeId: string, reason: SkepError): void {
    this.#timers.get(nodeId)?.cancel();
    this.#timers.delete(nodeId);
    const session = this.#sessions.get(nodeId);
    this.#sessions.delete(nodeId);
    session?.end.abort(reason);
  }

  /** Ends all sessions and timers. */
  closeAll(reason: SkepError): void {
    for (const nodeId of new Set([...this.#sessions.keys(), ...this.#timers.keys()])) {
      this.close(nodeId, reason);
    }
  }
}

/** Registrations of each node within a period. */
class RateLimit {
  readonly #clock: Clock;
  readonly #counts = new Map<string, { sinceMs: number; count: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  check(nodeId: string): void {
    const nowMs = this.#clock.monotonicMs();
    const entry = this.#counts.get(nodeId);
    if (entry === undefined || nowMs - entry.sinceMs > REGISTRATION_PERIOD_MS) {
      this.#forgetOld(nowMs);
      this.#counts.set(nodeId, { sinceMs: nowMs, count: 1 });
      return;
    }
    entry.count++;
    if (entry.count > REGISTRATIONS_MAX) {
      throw new SkepError(
        'unavailable',
        `node ${nodeId} exceeded rate limit count of registrations`,
      );
    }
  }

  #forgetOld(nowMs: number): void {
    for (const [nodeId, { sinceMs }] of this.#counts) {
      if (nowMs - sinceMs <= REGISTRATION_PERIOD_MS) return;
      this.#counts.delete(nodeId);
    }
  }
}
