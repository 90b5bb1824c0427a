/** Facts of the gossip and IPsec keys (SwarmKit manager/keymanager). */

/** The two uses of keys, as stock engines name them. */
export const KEY_SUBSYSTEMS = ['networking:gossip', 'networking:ipsec'] as const;

/** Keys of each use; a stock engine refuses any other number. */
export const KEYRING_SIZE = 3;

/** AES-128. */
export const KEY_BYTES = 16;

/** Time between rotations. */
export const KEY_ROTATION_INTERVAL_MS = 12 * 3_600_000;

/** The Lamport clock starts at a random value below this. */
export const LAMPORT_START_MAX = 65_536;
