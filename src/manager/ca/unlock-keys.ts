/** The unlock keys in the cluster object: which there are to be, and the one of the managers. */
import { create } from '@bufbuild/protobuf';
import type { RandomSource } from '../../model/environment.js';
import type { Cluster } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EncryptionKey,
  EncryptionKeySchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { UNLOCK_KEY_BYTES } from '../../rpc/identity/unlock-key.js';
import { MANAGER_ROLE } from '../../rpc/peer.js';

/** The key with which managers of this cluster lock; undefined when they do not. */
export function managerUnlockKey(cluster: Cluster | undefined): Uint8Array | undefined {
  if (cluster?.spec?.encryptionConfig?.autoLockManagers !== true) return undefined;
  const found = cluster.unlockKeys.find(({ subsystem }) => subsystem === MANAGER_ROLE);
  return found === undefined || found.key.length === 0 ? undefined : found.key;
}

/**
 * The unlock keys that go with the cluster's spec: one of managers while they lock, kept unless
 * `rotate`; those of other subsystems stay (SwarmKit controlapi/cluster.go).
 */
export function unlockKeysFor(
  cluster: Cluster,
  rotate: boolean,
  random: RandomSource,
): EncryptionKey[] {
  const others = cluster.unlockKeys.filter(({ subsystem }) => subsystem !== MANAGER_ROLE);
  if (cluster.spec?.encryptionConfig?.autoLockManagers !== true) return others;
  if (managerUnlockKey(cluster) !== undefined && !rotate) return cluster.unlockKeys;
  const key = random.bytes(UNLOCK_KEY_BYTES);
  return [...others, create(EncryptionKeySchema, { subsystem: MANAGER_ROLE, key })];
}
