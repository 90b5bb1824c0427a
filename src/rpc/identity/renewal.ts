/**
 * Keeps a node's certificate young: renews it at a random point between half and four fifths of its
 * life, so that a cluster's renewals spread, and at once when asked (another role, another root).
 */
import type { Environment, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import { RENEWAL_LIFE_MAX, RENEWAL_LIFE_MIN } from '../limits.js';
import type { ManagerConnection } from '../types.js';
import type { NodeIdentity } from './node-identity.js';
import { requestCertificate } from './request-certificate.js';

/** Pause after a failed renewal; doubles up to the limit. */
const RETRY_MIN_MS = 5_000;
const RETRY_MAX_MS = 3_600_000;
/** Longest single timer; Node's timers overflow beyond 2^31 - 1. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Renews the certificate of `identity` from `start` to `stop`. */
export class CertificateRenewer {
  readonly #identity: NodeIdentity;
  readonly #connect: () => Promise<ManagerConnection>;
  readonly #env: Environment;
  readonly #logger: Logger;
  #abort: AbortController | undefined;
  #timer: Timer | undefined;
  #failures = 0;
  #renewal: Promise<void> | undefined;

  constructor(options: {
    identity: NodeIdentity;
    /** A new connection to some manager; closed after the renewal. */
    connect: () => Promise<ManagerConnection>;
    env: Environment;
    logger: Logger;
  }) {
    this.#identity = options.identity;
    this.#connect = options.connect;
    this.#env = options.env;
    this.#logger = options.logger;
  }

  /** Schedules the next renewal. Idempotent. */
  start(): void {
    if (this.#abort !== undefined) return;
    this.#abort = new AbortController();
    this.#schedule(this.#nextDelayMs());
  }

  /** Ends a renewal under way. Idempotent. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#abort?.abort();
    this.#abort = undefined;
    await this.#renewal?.catch(() => undefined);
  }

  /** Renews now; calls during a renewal share it. @throws SkepError; the next try is scheduled */
  renewNow(): Promise<void> {
    const abort = this.#abort;
    if (abort === undefined) {
      return Promise.reject(new SkepError('failed_precondition', 'renewal is not running'));
    }
    this.#timer?.cancel();
    this.#renewal ??= this.#renew(abort.signal).finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #renew(signal: AbortSignal): Promise<void> {
    let connection: ManagerConnection | undefined;
    try {
      connection = await this.#connect();
      const { rootCaPem } = this.#identity.current();
      const renewed = await requestCertificate(connection.nodeCa, { rootCaPem }, this.#env, signal);
      await this.#identity.replace(renewed);
      this.#failures = 0;
      const { role, notAfterMs } = this.#identity.facts();
      this.#logger.info({ role, expires: new Date(notAfterMs) }, 'node certificate renewed');
      if (!signal.aborted) this.#schedule(this.#nextDelayMs());
    } catch (error) {
      this.#failures++;
      const delayMs = Math.min(RETRY_MIN_MS * 2 ** (this.#failures - 1), RETRY_MAX_MS);
      if (!signal.aborted) this.#schedule(delayMs);
      throw SkepError.from(error);
    } finally {
      connection?.close();
    }
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    const stepMs = Math.min(delayMs, TIMER_MAX_MS);
    this.#timer = this.#env.clock.setTimer(stepMs, () => {
      if (delayMs > stepMs) {
        this.#schedule(delayMs - stepMs);
        return;
      }
      this.renewNow().catch((error: unknown) => {
        this.#logger.warn({ error: String(error) }, 'renewing the node certificate failed');
      });
    });
  }

  #nextDelayMs(): number {
    const { notBeforeMs, notAfterMs } = this.#identity.facts();
    const part = RENEWAL_LIFE_MIN + this.#env.random.next() * (RENEWAL_LIFE_MAX - RENEWAL_LIFE_MIN);
    const atMs = notBeforeMs + (notAfterMs - notBeforeMs) * part;
    return Math.max(0, atMs - this.#env.clock.nowMs());
  }
}
