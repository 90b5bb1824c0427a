/**
 * A node's manager, which comes and goes with the role in its certificate while the node runs:
 * promoted, it opens an empty store and asks the leader to take part; demoted, it stops and forgets
 * the log, whose raft id is never used again.
 */
import { rmSync } from 'node:fs';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { sleep } from '../rpc/identity/sleep.js';
import type { ManagerPeer } from '../rpc/types.js';
import type { RunningManager } from './running-manager.js';

/** Pauses between attempts to become a manager: doubling, up to the limit. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;

/** What a role needs of its node. */
export interface NodeRoleOptions {
  readonly identity: NodeIdentity;
  /** Opens the store and makes the manager; not started. */
  readonly open: () => Promise<RunningManager>;
  /** Managers of the cluster, best first; this node itself may be among them. */
  readonly managers: () => readonly ManagerPeer[];
  readonly raftDirectory: string;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** See the file's head. */
export class NodeRole {
  readonly #options: NodeRoleOptions;
  readonly #life = new AbortController();
  #made: RunningManager | undefined;
  #manager: RunningManager | undefined;
  #turn: Promise<void> = Promise.resolve();
  #unsubscribe: (() => void) | undefined;
  /** Ends an attempt to join whose role has gone. */
  #attempt: AbortController | undefined;

  constructor(options: NodeRoleOptions) {
    this.#options = options;
  }

  /** The manager of this node, while it has one. */
  get manager(): RunningManager | undefined {
    return this.#manager;
  }

  /** Gives a manager that is made already and not started. */
  adopt(manager: RunningManager): void {
    this.#made = manager;
  }

  /** Starts the manager on the state that is there. @throws SkepError when it cannot; none runs then */
  async open(): Promise<void> {
    if (this.#manager !== undefined) return;
    const manager = this.#made ?? (await this.#options.open());
    this.#made = undefined;
    try {
      await manager.start();
    } catch (error) {
      await manager.stop();
      throw error;
    }
    this.#manager = manager;
  }

  /** Follows the certificate's role from now on. */
  follow(): void {
    this.#unsubscribe ??= this.#options.identity.subscribe(() => this.#onIdentity());
    this.#onIdentity();
  }

  /**
   * Becomes a manager now, as a node that is new in the swarm, with one attempt at each known manager.
   * @throws SkepError what the last of them said; nothing is left running then
   */
  async become(signal: AbortSignal): Promise<void> {
    try {
      await this.open();
      await this.#joinOnce(signal, true);
    } catch (error) {
      await this.#close();
      throw error;
    }
  }

  /** Stops the manager; its state stays. Idempotent. */
  async stop(): Promise<void> {
    this.#life.abort();
    this.#attempt?.abort();
    this.#unsubscribe?.();
    await this.#turn;
    await this.#close();
  }

  #onIdentity(): void {
    const { role } = this.#options.identity.facts();
    if (role !== 'manager') this.#attempt?.abort();
    this.#turn = this.#turn.then(async () => {
      if (this.#life.signal.aborted) return;
      try {
        if (this.#options.identity.facts().role === 'manager') await this.#begin();
        else await this.#end();
      } catch (error) {
        const text = SkepError.from(error).message;
        this.#options.logger.error({ error: text }, 'the node could not follow its role');
      }
    });
  }

  async #begin(): Promise<void> {
    const attempt = new AbortController();
    this.#attempt = attempt;
    await this.open();
    for (let pauseMs = RETRY_MIN_MS; !attempt.signal.aborted; ) {
      try {
        await this.#joinOnce(attempt.signal, false);
        return;
      } catch (error) {
        const text = SkepError.from(error).message;
        this.#options.logger.warn(
          { error: text },
          'the managers do not let this one take part yet',
        );
      }
      const { clock } = this.#options.environment;
      await sleep(pauseMs, clock, attempt.signal).catch(() => undefined);
      pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
    }
  }

  async #end(): Promise<void> {
    await this.#close();
    rmSync(this.#options.raftDirectory, { recursive: true, force: true });
  }

  async #joinOnce(signal: AbortSignal, isNew: boolean): Promise<void> {
    const manager = this.#manager;
    if (manager === undefined || manager.isMember) return;
    let failure = new SkepError('unavailable', 'no other managers are known');
    const { nodeId } = this.#options.identity.facts();
    for (const peer of this.#options.managers()) {
      if (peer.nodeId === nodeId) continue;
      if (signal.aborted) throw new SkepError('canceled', 'context canceled');
      try {
        await manager.join(peer.addr, isNew);
        this.#options.logger.info({ through: peer.addr }, 'this node takes part as a manager');
        return;
      } catch (error) {
        failure = SkepError.from(error);
        // They agree on what a refusal is about.
        if (failure.code === 'failed_precondition') throw failure;
      }
    }
    throw failure;
  }

  async #close(): Promise<void> {
    const manager = this.#manager;
    this.#manager = undefined;
    await manager?.stop();
  }
}
