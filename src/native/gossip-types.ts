/**
 * memberlist + NetworkDB in a native thread of its own. JavaScript hands in what this node owns
 * and gets batches of what changed; a blocked event loop delays the batches, never the protocol.
 */

/** Timing profile: memberlist's LAN defaults, or Skep's faster one between skepd nodes. */
export type GossipProfile = 'lan' | 'fast';

/** Settings of the gossip thread. */
export interface GossipOptions {
  /** Unique name of this node in the ring; skepd uses the swarm node id. */
  readonly nodeName: string;
  /** Address and port (UDP and TCP) to bind, default port 7946. */
  readonly bindAddress: string;
  readonly port: number;
  /** Address other members reach us at. */
  readonly advertiseAddress: string;
  /**
   * Encryption keys (16 bytes each), oldest first; the second one encrypts (NetworkDB's rule), all
   * decrypt. Empty: no encryption (stock serf, tests).
   */
  readonly keys: readonly Uint8Array[];
  readonly profile: GossipProfile;
  /** What rides on memberlist: Docker's NetworkDB, or serf's minimum for tests against a stock serf. */
  readonly delegate: 'networkdb' | 'serf';
}

/** A member of the ring. `failed` members may come back; `left` ones said good-bye. */
export interface GossipMember {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly state: 'alive' | 'suspect' | 'failed' | 'left';
}

/** Why a table entry vanished. */
export type EntryRemovalReason = 'deleted' | 'owner-left-network' | 'owner-left' | 'owner-failed';

/** One change, in the order it was seen. Own entries are not echoed. */
export type GossipEvent =
  | { readonly type: 'member'; readonly member: GossipMember }
  | {
      readonly type: 'network-member';
      readonly networkId: string;
      readonly nodeName: string;
      readonly joined: boolean;
    }
  | {
      readonly type: 'entry';
      readonly networkId: string;
      readonly table: string;
      readonly key: string;
      readonly owner: string;
      readonly value: Uint8Array;
    }
  | {
      readonly type: 'entry-removed';
      readonly networkId: string;
      readonly table: string;
      readonly key: string;
      readonly owner: string;
      readonly reason: EntryRemovalReason;
    }
  /**
   * What `owner` had announced on the network up to this version has been told, as it compares by the
   * owner's digest, and the owner waits for this node to put it in force (see `acknowledge`).
   */
  | {
      readonly type: 'in-sync';
      readonly networkId: string;
      readonly owner: string;
      readonly version: number;
    };

/** A running gossip thread. */
export interface Gossip {
  /** Contacts members over TCP (push/pull); resolves with the number reached. Also remembered for rejoining after partitions. */
  join(addresses: readonly string[]): Promise<number>;
  joinNetwork(networkId: string): void;
  leaveNetwork(networkId: string): void;
  /** Creates or updates an entry of ours on a network we joined; at most 1,024 bytes. */
  putEntry(networkId: string, table: string, key: string, value: Uint8Array): void;
  deleteEntry(networkId: string, table: string, key: string): void;
  /**
   * Resolves once every live skepd node of these networks has acknowledged what this node has put and
   * deleted there until now, or after 2 s; with the number of nodes that have not. Stock engines
   * are not waited for.
   */
  spread(networkIds: readonly string[]): Promise<number>;
  /** What an `in-sync` event stands for is in force here. */
  acknowledge(networkId: string, owner: string, version: number): void;
  /** Tries a member that failed at once, because something says that it is back. */
  reconnect(nodeName: string): void;
  setKeys(keys: readonly Uint8Array[]): void;
  members(): readonly GossipMember[];
  /** Counters by name: messages in and out, drops by cause, queue lengths, awareness score. */
  counters(): Readonly<Record<string, number>>;
  /** Says good-bye (dead about ourselves), at most `timeoutMs`, then stops. */
  leave(timeoutMs: number): Promise<void>;
  /** Stops the thread at once and without a word. Idempotent. */
  close(): void;
}

/** Starts the thread. @throws EADDRINUSE and the like, Node-style. */
export type StartGossip = (
  options: GossipOptions,
  onEvents: (events: readonly GossipEvent[]) => void,
) => Gossip;
