/** What a node of the core is made from. */
import type { RandomSource } from '../model/environment.js';
import { invariant } from '../model/errors.js';
import {
  APPLY_BYTES_MAX,
  ELECTION_TICKS,
  HEARTBEAT_TICKS,
  INFLIGHT_BYTES_MAX,
  INFLIGHT_MESSAGES_MAX,
  MESSAGE_BYTES_MAX,
  UNCOMMITTED_BYTES_MAX,
} from './limits.js';
import type { Entry, HardState, NodeId, Snapshot, SnapshotMeta } from './types.js';

/** What was on disk when the node was stopped, or what a new node begins with. */
export interface StoredState {
  readonly hardState: HardState;
  /** Where the stored log begins; index and term 0 without members for a node yet to be added. */
  readonly snapshot: SnapshotMeta;
  /** Entries after the snapshot, without gaps. */
  readonly entries: readonly Entry[];
}

/** Options of a node; limits default to those of limits.ts. */
export interface RaftOptions {
  readonly id: NodeId;
  readonly stored: StoredState;
  /** Draws election timeouts. */
  readonly random: RandomSource;
  /** The newest snapshot, for a member that is too far behind; undefined when there is none yet. */
  readonly latestSnapshot: () => Snapshot | undefined;
  readonly heartbeatTicks?: number;
  readonly electionTicks?: number;
  readonly messageBytesMax?: number;
  readonly inflightMessagesMax?: number;
  readonly inflightBytesMax?: number;
  readonly uncommittedBytesMax?: number;
  readonly applyBytesMax?: number;
}

/** Options with every default filled in. */
export type RaftConfig = Required<RaftOptions>;

/** Fills in defaults and checks the options against each other. */
export function completeConfig(options: RaftOptions): RaftConfig {
  const config = {
    heartbeatTicks: HEARTBEAT_TICKS,
    electionTicks: ELECTION_TICKS,
    messageBytesMax: MESSAGE_BYTES_MAX,
    inflightMessagesMax: INFLIGHT_MESSAGES_MAX,
    inflightBytesMax: INFLIGHT_BYTES_MAX,
    uncommittedBytesMax: UNCOMMITTED_BYTES_MAX,
    applyBytesMax: APPLY_BYTES_MAX,
    ...options,
  };
  invariant(Number.isSafeInteger(config.id) && config.id > 0, 'a node id lies in [1, 2^53)');
  invariant(config.heartbeatTicks > 0, 'heartbeats need a period');
  invariant(
    config.electionTicks > config.heartbeatTicks,
    'an election timeout is longer than a heartbeat period',
  );
  return config;
}
