/**
 * How the nodes of a large swarm come back to a manager that all of them lost at once: over as long as it
 * takes to shake hands with so many, not all within the 100 ms of SwarmKit's first backoff.
 */

/**
 * Sessions that a manager can open in a second beside its other work. One takes 2 to 4 ms of processor time,
 * TLS and registration together, on a processor that nodes of the same host may share.
 */
export const RECONNECTS_PER_SECOND = 250;

/** Longest spread told or believed: that of 30,000 nodes, about twice what a manager has connections for. */
export const RECONNECT_SPREAD_MS_MAX = 120_000;

/**
 * Over how long the nodes of a swarm spread their calls, in whole seconds, so that a single node more is no
 * news; 0 for up to 250 nodes, which one second is enough for.
 */
export function reconnectSpreadMs(nodeCount: number): number {
  if (nodeCount <= RECONNECTS_PER_SECOND) return 0;
  const seconds = Math.ceil(nodeCount / RECONNECTS_PER_SECOND);
  return Math.min(seconds * 1000, RECONNECT_SPREAD_MS_MAX);
}

/** What a manager told of it, 0 if nothing or nonsense. */
export function parseReconnectSpread(text: string | undefined): number {
  const spreadMs = Number(text ?? 0);
  if (!Number.isFinite(spreadMs) || spreadMs < 0) return 0;
  return Math.min(spreadMs, RECONNECT_SPREAD_MS_MAX);
}
