/**
 * Direct return as the rest of the networking sees it.
 */

/** What is known about answers that another node sends to clients of this one. */
export type DirectState =
  /** No service that wants it has tasks there. */
  | { readonly kind: 'idle' }
  /** Not tried yet, or the node is not in the ring. */
  | { readonly kind: 'untested' }
  /** Its packets under our address arrive: replies go straight to clients. */
  | { readonly kind: 'proven' }
  /** It sends them, and they do not arrive. */
  | { readonly kind: 'lost' }
  /** It says that it cannot send any. */
  | { readonly kind: 'unable' }
  /** It does not answer the question; a stock engine, or another version. */
  | { readonly kind: 'silent' };

/** Both ways between this node and another one, for operators. */
export interface DirectRow {
  /** The other node's swarm id; empty where only the tunnel is known. */
  readonly owner: string;
  readonly tunnelAddress: string;
  readonly state: DirectState;
  /** This node may answer clients of the other one. */
  readonly asBackend: boolean;
  /** What `state` means, in a sentence. */
  readonly text: string;
}

/** All of it, with what was done since start. */
export interface DirectReport {
  readonly nodes: readonly DirectRow[];
  /** Probes asked of other nodes, those that arrived, and those sent for others. */
  readonly probes: { readonly asked: number; readonly arrived: number; readonly sent: number };
}
