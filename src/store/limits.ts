/**
 * Limits and defaults of the store room, each with its unit and reason. Where SwarmKit has the
 * same limit, its value is taken.
 */

/** Largest encoded transaction (SwarmKit's MaxTransactionBytes). */
export const TRANSACTION_BYTES_MAX = 1.5 * 1024 * 1024;

/** Changes in one raft entry of a batch (SwarmKit's MaxChangesPerTransaction). */
export const BATCH_CHANGES_MAX = 200;

/** Callers waiting for their turn to write; beyond it the store is hopelessly behind and says so. */
export const WAITING_WRITERS_MAX = 20_000;

/** Transactions proposed and not decided yet: more than writers share a flush, few enough to hold twice. */
export const PROPOSED_ENTRIES_MAX = 1_000;

/**
 * Bytes of them from which on the next writer waits. With a transaction on top, and as much again that
 * is applied while the raft core still counts it, this stays below the core's UNCOMMITTED_BYTES_MAX.
 */
export const PROPOSED_BYTES_MAX = 1024 * 1024;

/** Bytes of encoded parts of objects kept for their next updates: those of some ten thousand tasks. */
export const KNOWN_BYTES_MAX = 8 * 1024 * 1024;

/** How long a caller waits for its proposal: Docker's own limit on a swarm request. */
export const PROPOSAL_DEADLINE_MS = 20_000;

/** A proposal without an outcome for this long makes the leader hand over (WedgeTimeout). */
export const WEDGE_TIMEOUT_MS = 30_000;

/** Applied entries between two snapshots (SwarmKit's SnapshotInterval). */
export const SNAPSHOT_INTERVAL_ENTRIES = 10_000;

/** Applied bytes that also cause a snapshot: the log is held in memory, so bytes count too. */
export const SNAPSHOT_INTERVAL_BYTES = 64 * 1024 * 1024;

/** Entries kept behind a snapshot for slow followers (LogEntriesForSlowFollowers). */
export const KEPT_ENTRIES = 500;

/**
 * Time of one raft tick: a heartbeat every tick, an election after 10 to 20 without (SwarmKit: ticks
 * of 1 s). So the next leader is there about 2 s after the last was lost, and a manager may be silent
 * for 1 s, ten heartbeats long, before anybody thinks of an election.
 */
export const TICK_INTERVAL_MS = 100;

/** Size of a preallocated segment of the log: some thousand entries of usual size. */
export const SEGMENT_BYTES = 8 * 1024 * 1024;

/** Largest plain text of one log record: a transaction and its envelope, with room to spare. */
export const RECORD_BYTES_MAX = 4 * 1024 * 1024;

/** Plain bytes of one encrypted piece of a snapshot file. */
export const SNAPSHOT_CHUNK_BYTES = 1024 * 1024;

/** Objects encoded in one go when a snapshot is made, so that the event loop is never held long. */
export const SNAPSHOT_OBJECTS_PER_SLICE = 200;

/** Pause before another attempt to prepare the spare segment on a full disk. */
export const SPARE_RETRY_MS = 5_000;

/** Ticks between two requests for the same read index: a message of either side may be lost. */
export const READ_RETRY_TICKS = 5;
