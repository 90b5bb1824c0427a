/**
 * Keeps this manager's keys in line with the cluster: takes the cluster's unlock key into use when
 * it changes, and then changes the key of the raft log, since the old one could be read with the old
 * unlock key, or by anybody (SwarmKit manager/deks.go). Works on every manager, leader or not.
 */
import { managerUnlockKey } from '../manager/ca/unlock-keys.js';
import type { Environment, Timer } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Cluster } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Logger } from '../observe/logger.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { RAFT_DATA_KEY_BYTES } from '../rpc/identity/raft-keys.js';
import type { Store } from '../store/types.js';
import type { DataKey } from '../store/wal/record.js';

/** Pause after a change that failed, as on a full disk. */
const RETRY_MS = 30_000;

/** What the rotation works with. */
export interface KeyRotationParts {
  readonly store: Store;
  readonly identity: NodeIdentity;
  /** Resolves once nothing on disk needs an older key; see `RaftNode.rotateDataKey`. */
  readonly rotateLog: (key: DataKey) => Promise<void>;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** From start to stop of a manager. */
export class KeyRotation {
  readonly #parts: KeyRotationParts;
  #unsubscribe: (() => void) | undefined;
  /** Writing the unlock key never waits for the log. */
  #unlocking: Promise<void> = Promise.resolve();
  #rotating: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;

  constructor(parts: KeyRotationParts) {
    this.#parts = parts;
  }

  /** Follows the cluster object; a change of keys that a crash interrupted goes on. */
  start(): void {
    const { store, identity } = this.#parts;
    const { clusterId } = identity.facts();
    const { result, unsubscribe } = store.viewAndSubscribe(
      (read) => read.get('cluster', clusterId),
      (events) => {
        for (const event of events)
          if (event.table === 'cluster' && event.kind !== 'remove') this.#follow(event.object);
      },
    );
    this.#unsubscribe = unsubscribe;
    this.#follow(result);
  }

  /**
   * Follows no more; resolves when the last unlock key is on disk. A change of the log's key goes on
   * until the store is closed, and after the next start. Idempotent.
   */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#retry?.cancel();
    await this.#unlocking;
  }

  #follow(cluster: Cluster | undefined): void {
    this.#unlocking = this.#unlocking
      .then(async () => this.#takeUnlockKey(cluster))
      .then(
        () => this.#rotate(),
        (error: unknown) => this.#failed(error),
      );
  }

  /** One change of the log's key after the other. */
  #rotate(): void {
    this.#rotating = this.#rotating
      .then(async () => this.#rotateLog())
      .catch((error: unknown) => this.#failed(error));
  }

  async #takeUnlockKey(cluster: Cluster | undefined): Promise<void> {
    if (cluster === undefined) return;
    const { identity, environment, logger } = this.#parts;
    const change = await identity.setUnlockKey(
      managerUnlockKey(cluster),
      cluster.meta?.version?.index ?? 0n,
      environment.random.bytes(RAFT_DATA_KEY_BYTES),
    );
    if (change === 'none') return;
    logger.info({ change }, 'the unlock key of this manager has changed');
    // The node key was on disk in clear until now.
    if (change === 'lockedFirst') identity.requestRenewal();
  }

  async #rotateLog(): Promise<void> {
    const { identity, environment, logger } = this.#parts;
    for (;;) {
      const pending = identity.raftKeys()?.pending;
      if (pending === undefined || this.#unsubscribe === undefined) return;
      await this.#parts.rotateLog(pending);
      await identity.finishRaftKeyChange(environment.random.bytes(RAFT_DATA_KEY_BYTES));
      logger.info({ keyId: pending.keyId }, 'the raft log is encrypted with a new key');
    }
  }

  #failed(error: unknown): void {
    const { environment, logger } = this.#parts;
    if (this.#unsubscribe === undefined) return;
    logger.error(
      { error: SkepError.from(error).message },
      'the keys of this manager could not be changed; trying again',
    );
    this.#retry?.cancel();
    this.#retry = environment.clock.setTimer(RETRY_MS, () => {
      const { clusterId } = this.#parts.identity.facts();
      this.#follow(this.#parts.store.view((read) => read.get('cluster', clusterId)));
    });
  }
}
