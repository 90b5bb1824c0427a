/** Limits of the managers' raft streams: every bound on what a member may make another one keep. */

/** ALPN name of the streams, beside `h2` on the managers' port. */
export const RAFT_PROTOCOL = 'skep-raft/1';

/** One frame: an append with a single entry of the largest transaction (1.5 MiB) fits well. */
export const FRAME_BYTES_MAX = 4 * 1024 * 1024;

/** Snapshot bytes in one frame, so that heartbeats get in between. */
export const SNAPSHOT_PIECE_BYTES = 256 * 1024;

/** A whole snapshot, which the receiver assembles in memory. */
export const SNAPSHOT_BYTES_MAX = 512 * 1024 * 1024;

/** Bytes that wait for a slow member; beyond it messages are dropped, and raft sends again. */
export const OUTBOX_BYTES_MAX = 32 * 1024 * 1024;

/** Messages that wait for a connection which is being made. */
export const EARLY_MESSAGES_MAX = 256;

/** Connections that other managers may keep open to this one, at one time. */
export const INCOMING_MAX = 64;

/** Dialling a member, TLS and greeting included. */
export const DIAL_TIMEOUT_MS = 5_000;

/** Pause after a failed dial; heartbeats come ten a second and would all dial. */
export const DIAL_PAUSE_MS = 250;

/** Pings on an open stream: TCP alone would notice a cut cable after minutes. */
export const LINK_PING_INTERVAL_MS = 1_000;
export const LINK_PING_TIMEOUT_MS = 3_000;

/** A member counts as reachable when something of it was heard within this time. */
export const REACHABLE_MS = 3_000;

/** The address in a greeting. */
export const ADDRESS_CHARS_MAX = 300;
