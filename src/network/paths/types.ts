/**
 * The self-test of paths as the rest of the networking sees it.
 */
import type { ProbeWay } from './judge.js';

/** A node at the other end of a path. */
export interface PathPeer {
  /** Its swarm id; empty where only the tunnel is known (stock engines). */
  readonly owner: string;
  /** Its address on the ingress network: what probes go to. */
  readonly nodeId: string;
  readonly tunnelAddress: string;
  /** A skepd says that the address is its own; stock engines answer no probes. */
  readonly answers: boolean;
  /** The ingress network is encrypted: what is tested is the path through WireGuard. */
  readonly encrypted: boolean;
}

/** What is known about a path. */
export type PathState =
  /** Nothing yet, or the node is not in the ring. */
  | { readonly kind: 'untested' }
  /** A stock engine is there. */
  | { readonly kind: 'stock' }
  | { readonly kind: 'good'; readonly packetBytes: number }
  /** Packets with checksums left to an offload are lost, others pass. */
  | { readonly kind: 'offload' }
  /** No tunnel packet passes; `heard`: the peer's own probes arrive here. */
  | { readonly kind: 'blocked'; readonly heard: boolean }
  /** Tunnel packets pass, but the peer's skepd answers none. */
  | { readonly kind: 'unanswered' }
  /** Longer packets are lost, and nobody says so. */
  | { readonly kind: 'size'; readonly largestBytes: number; readonly wantedBytes: number };

/** One path, for operators. */
export interface PathRow extends PathPeer {
  readonly state: PathState;
  /** What it is and what to do, in one or two sentences. */
  readonly text: string;
  /** Of the last answer, milliseconds; user space at both ends is in it. */
  readonly roundTripMs: number | undefined;
}

/** All paths of this node. */
export interface PathReport {
  /** Checksums of tunnel packets are made in software on this node, since an offload broke them. */
  readonly softwareChecksums: boolean;
  readonly paths: readonly PathRow[];
}

/** Sends and receives messages between node ids. */
export interface PathTransport {
  /** A message that cannot be sent is lost, as one on the way is. */
  send(way: ProbeWay, nodeId: string, message: Uint8Array): void;
  /**
   * Speaks and hears as `nodeId` from now on; idempotent, and tries again what failed before.
   * @returns whether it does already
   */
  open(nodeId: string): boolean;
  close(): Promise<void>;
}
