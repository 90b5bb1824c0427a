/** Keys of the labels whose values no other file of this room parses (`readiness.ts`, `cron.ts`, ... have their own). */

/** Prefix of all keys in this table; no other software may use it. */
export const SKEP_PREFIX = 'skep.';

/** Engine label in a node's description: version of the skepd that runs it. Stock engines lack it. */
export const AGENT_VERSION_LABEL = 'skep.agent';
/** How long only an agent may be silent before its node counts as down. */
export const AGENT_GRACE_LABEL = 'skep.agent_grace';
/** How long a node must be dead before its tasks are started elsewhere. */
export const RESCHEDULE_AFTER_LABEL = 'skep.reschedule_after';

/** How long a node must reach nobody before it takes its own endpoints off the networks. */
export const FENCE_AFTER_LABEL = 'skep.fence_after';
/** How long clients may keep the addresses that names stand for. */
export const DNS_TTL_LABEL = 'skep.dns_ttl';

/** Family of all nodes' data path addresses. */
export const DATA_PATH_FAMILY_LABEL = 'skep.data_path.family';
/**
 * Told to agents with their node, never set by users: ids of nodes that were removed and whose
 * certificates may still be valid, separated by commas.
 */
export const REMOVED_NODES_LABEL = 'skep.removed_nodes';
/** Told to agents likewise: over how many milliseconds nodes spread their calls to a manager that all have lost. */
export const RECONNECT_SPREAD_LABEL = 'skep.reconnect_spread';
/** Values of {@link DATA_PATH_FAMILY_LABEL}. */
export type DataPathFamily = 'ipv4' | 'ipv6';

/** Services that are to be up before a service begins. */
export const DEPENDS_ON_LABEL = 'skep.depends_on';
/** When a job runs. */
export const CRON_LABEL = 'skep.cron';

/** How tasks leave a drained node. */
export const DRAIN_LABEL = 'skep.drain';

/** Whether tasks are moved to nodes that joined or came back. */
export const REBALANCE_LABEL = 'skep.rebalance';

/** Of which secret or config of its stack another one is a later version. */
export const VERSION_OF_LABEL = 'skep.stack.version_of';

/** First of the two UDP ports of a node's WireGuard devices. */
export const ENCRYPTION_PORT_LABEL = 'skep.encryption.port';
/** How often a node changes its WireGuard key. */
export const ENCRYPTION_ROTATION_LABEL = 'skep.encryption.rotation';

/** Driver option of a network whose packets must be encrypted; set by `--opt encrypted`. */
export const ENCRYPTED_DRIVER_OPTION = 'encrypted';
