/**
 * When a node that is cut off takes itself off the networks, and when others may have its addresses: the
 * managers' and the node's halves of one rule. `fenceAfterMs` is the cluster's `skep.fence_after`.
 */

/** Until a node that is cut off notices that its session is over, and some more. */
const NOTICE_MS = 15_000;

/**
 * How long addresses that were lost with their node rest, milliseconds: twice what the node takes to
 * fence itself, and never less than it may take to notice and to fence.
 */
export function restOfLostMs(fenceAfterMs: number): number {
  return Math.max(2 * fenceAfterMs, fenceAfterMs + NOTICE_MS);
}

/**
 * How long a node may have reached nobody, as it noticed itself, and still take the ring's word that its
 * addresses are its own, milliseconds; then only a manager's.
 */
export function ownAddressesMs(fenceAfterMs: number): number {
  return restOfLostMs(fenceAfterMs) - NOTICE_MS;
}
