/**
 * The leader's keeper of the gossip and IPsec keys. They live in the cluster object and reach nodes
 * in session messages. Three keys of each kind: the newest is not used yet, the second oldest
 * encrypts, so that every node has a key before anyone uses it.
 */
import { clone, create } from '@bufbuild/protobuf';
import type { Environment, RandomSource, Timer } from '../../model/environment.js';
import { type Cluster, ClusterSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EncryptionKey,
  EncryptionKey_Algorithm,
  EncryptionKeySchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../../observe/logger.js';
import type { Store } from '../../store/types.js';
import {
  KEY_BYTES,
  KEY_ROTATION_INTERVAL_MS,
  KEY_SUBSYSTEMS,
  KEYRING_SIZE,
  LAMPORT_START_MAX,
} from './constants.js';

/** Pause before a rotation that failed is tried again. */
const RETRY_MS = 10_000;

/** Makes the first keys and rotates them; runs on the leader only. */
export class KeyManager {
  readonly #store: Store;
  readonly #clusterId: string;
  readonly #env: Environment;
  readonly #logger: Logger;
  #timer: Timer | undefined;
  #state: 'stopped' | 'running' = 'stopped';

  constructor(options: { store: Store; clusterId: string; env: Environment; logger: Logger }) {
    this.#store = options.store;
    this.#clusterId = options.clusterId;
    this.#env = options.env;
    this.#logger = options.logger;
  }

  /** Sees to it that keys exist and rotates them every 12 h from now on. Idempotent. */
  async start(): Promise<void> {
    if (this.#state === 'running') return;
    this.#state = 'running';
    try {
      await this.#change((cluster) => {
        if (cluster.networkBootstrapKeys.length === 0) fillKeys(cluster, this.#env.random);
      });
      this.#schedule(KEY_ROTATION_INTERVAL_MS);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** Stops rotating. Idempotent. */
  stop(): void {
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Replaces the oldest key of each kind by a new one. */
  async rotate(): Promise<void> {
    await this.#change((cluster) => rotateKeys(cluster, this.#env.random));
  }

  #schedule(delayMs: number): void {
    if (this.#state === 'stopped') return;
    this.#timer = this.#env.clock.setTimer(delayMs, () => {
      this.rotate().then(
        () => this.#schedule(KEY_ROTATION_INTERVAL_MS),
        (error: unknown) => {
          this.#logger.warn({ error: String(error) }, 'rotating the gossip keys failed');
          this.#schedule(RETRY_MS);
        },
      );
    });
  }

  async #change(change: (cluster: Cluster) => void): Promise<void> {
    await this.#store.update((write) => {
      const cluster = write.get('cluster', this.#clusterId);
      if (cluster === undefined) return;
      const copy = clone(ClusterSchema, cluster);
      change(copy);
      if (copy.encryptionKeyLamportClock !== cluster.encryptionKeyLamportClock) {
        write.update('cluster', copy);
      }
    });
  }
}

/** Gives a cluster its first keys. For `swarm init`, in the transaction that creates the cluster. */
export function fillKeys(cluster: Cluster, random: RandomSource): void {
  cluster.encryptionKeyLamportClock = BigInt(Math.floor(random.next() * LAMPORT_START_MAX));
  cluster.networkBootstrapKeys = KEY_SUBSYSTEMS.flatMap((subsystem) =>
    Array.from({ length: KEYRING_SIZE }, () => newKey(cluster, subsystem, random)),
  );
}

/** Drops the oldest key of each kind for a new one; fills up kinds that have too few. */
export function rotateKeys(cluster: Cluster, random: RandomSource): void {
  cluster.networkBootstrapKeys = KEY_SUBSYSTEMS.flatMap((subsystem) => {
    const young = cluster.networkBootstrapKeys
      .filter((key) => key.subsystem === subsystem)
      .sort((a, b) => Number(a.lamportTime - b.lamportTime))
      .slice(-(KEYRING_SIZE - 1));
    while (young.length < KEYRING_SIZE) young.push(newKey(cluster, subsystem, random));
    return young;
  });
}

function newKey(cluster: Cluster, subsystem: string, random: RandomSource): EncryptionKey {
  cluster.encryptionKeyLamportClock++;
  return create(EncryptionKeySchema, {
    subsystem,
    algorithm: EncryptionKey_Algorithm.AES_128_GCM,
    key: Uint8Array.from(random.bytes(KEY_BYTES)),
    lamportTime: cluster.encryptionKeyLamportClock,
  });
}
