/** Ids of raft members. */
import type { Environment } from '../model/environment.js';
import type { NodeId } from '../raft/types.js';

/** A random raft id: 53 bits, never 0. */
export function newRaftId(environment: Environment): NodeId {
  const bytes = Buffer.from(environment.random.bytes(8));
  return Math.max(1, Number(bytes.readBigUInt64LE() >> 11n));
}
