/**
 * Which nodes may call what. The rules and texts are SwarmKit's (ca/auth.go): a certificate of this
 * cluster's root, the cluster id as organisation, one of the wanted roles as organisational unit,
 * and not on the list of removed nodes.
 */
import { SkepError } from '../model/errors.js';
import type { PeerIdentity } from './peer.js';

/** Facts that decide about a caller; they change while the manager runs. */
export interface AccessRules {
  /** Id of the cluster object; O of every certificate. */
  readonly clusterId: string;
  /** Whether the node was removed from the swarm and its certificate must no longer count. */
  isRemoved(nodeId: string): boolean;
}

/**
 * Checks that `peer` is a node of the cluster with one of `roles`; returns its node id.
 * @throws SkepError permission_denied with SwarmKit's text
 */
export function authorize(
  peer: PeerIdentity,
  rules: AccessRules,
  roles: readonly string[],
): string {
  const refusal = refusalOf(peer, rules, roles);
  if (refusal === undefined) return peer.nodeId;
  throw new SkepError(
    'permission_denied',
    `Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = ${refusal}`,
  );
}

function refusalOf(
  peer: PeerIdentity,
  rules: AccessRules,
  roles: readonly string[],
): string | undefined {
  if (!peer.authorized || peer.nodeId === '') return 'no client certificates in request';
  if (!roles.includes(peer.role)) {
    return `Permission denied: remote certificate not part of OUs: [${roles.join(' ')}]`;
  }
  if (rules.isRemoved(peer.nodeId)) {
    return `Permission denied: node ${peer.nodeId} was removed from swarm`;
  }
  if (peer.clusterId !== rules.clusterId) {
    return `Permission denied: remote certificate not part of organization: ${rules.clusterId}`;
  }
  return undefined;
}
