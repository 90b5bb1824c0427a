/**
 * What this node knows about the cluster's endpoints, own and announced ones together: the input
 * of the desired-state function and of the service names.
 */
import type { BalancePolicy } from '../model/balance-policy.js';
import type { HostAddress } from './host-addresses.js';
import type { NetworkInfo } from './network-info.js';
import type { EndpointValue, PeerValue, RecordPort } from './records.js';

/** A network in use on this node. */
export interface NetworkView {
  readonly info: NetworkInfo;
  /** This node's own (load-balancer) addresses on it, plain. */
  readonly nodeAddresses: readonly string[];
}

/** An address that lives on another node. */
export interface PeerView extends PeerValue {
  readonly networkId: string;
  readonly key: string;
  readonly owner: string;
  /** Position in the order of arrival; the newest wins where two claim one address. */
  readonly sequence: number;
  /** Its owner failed in gossip, and the entry is kept because its data path still answers. */
  readonly held: boolean;
}

/** A named endpoint, here or elsewhere. */
export interface EndpointView extends EndpointValue {
  readonly networkId: string;
  readonly key: string;
  /** Name of the announcing node; undefined for this one. */
  readonly owner: string | undefined;
}

/** A port published on this node only, for one local task. */
export interface HostPortView extends RecordPort {
  readonly networkId: string;
  readonly address: string;
  readonly draining: boolean;
  readonly policy: BalancePolicy;
}

/** Everything together. */
export interface ClusterView {
  readonly networks: readonly NetworkView[];
  readonly peers: readonly PeerView[];
  readonly endpoints: readonly EndpointView[];
  readonly hostPorts: readonly HostPortView[];
  /** Own tunnel address: peers that claim it are ignored. */
  readonly tunnelAddress: string;
  /** The host's own addresses: some ports are published on one of them only. */
  readonly hostAddresses: readonly HostAddress[];
  /** Tunnel addresses through WireGuard, by node: the only ones on encrypted networks. */
  readonly encryptedTunnels: ReadonlyMap<string, string>;
}
