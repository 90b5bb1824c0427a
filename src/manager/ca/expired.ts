/**
 * A manager that was away until its certificate had expired: what it needs for a new one, the root's
 * key, is in its own store. Swarm knows only leaving the swarm, which on a last manager ends it.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { durationMs } from '../../model/defaults.js';
import { NodeRole } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newCertificateRequest } from '../../rpc/identity/keys.js';
import type { NodeIdentity } from '../../rpc/identity/node-identity.js';
import { issueNodeCertificate } from '../../rpc/identity/root-ca.js';
import { NODE_CERTIFICATE_LIFETIME_MS } from '../../rpc/limits.js';
import type { Store } from '../../store/types.js';
import { signingCaOf } from './cluster-root.js';

/** Docker's text for a node whose certificate has expired. */
export function certificatesExpired(): SkepError {
  return new SkepError(
    'unavailable',
    'Swarm certificates have expired. To replace them, leave the swarm and join again.',
  );
}

/** Whether the certificate of a node has expired. */
export function isExpired(identity: NodeIdentity, env: Environment): boolean {
  return identity.facts().notAfterMs <= env.clock.nowMs();
}

/**
 * Gives a manager a new certificate from its own store, if its old one has expired.
 * @throws SkepError unavailable, Docker's text, if the store does not have it as a manager any more,
 *   or the root's key is elsewhere
 */
export async function renewIfExpired(
  identity: NodeIdentity,
  store: Store,
  env: Environment,
): Promise<void> {
  if (!isExpired(identity, env)) return;
  const { nodeId, clusterId } = identity.facts();
  const { cluster, node } = store.view((read) => ({
    cluster: read.get('cluster', clusterId),
    node: read.get('node', nodeId),
  }));
  const isManager =
    node?.role === NodeRole.MANAGER && cluster?.blacklistedCertificates[nodeId] === undefined;
  const rootCa = cluster?.rootCa;
  const signer = rootCa === undefined ? undefined : signingCaOf(rootCa);
  if (!isManager || rootCa === undefined || signer === undefined) throw certificatesExpired();
  const { csrPem, privateKeyPem } = await newCertificateRequest();
  const lifetimeMs =
    durationMs(cluster?.spec?.caConfig?.nodeCertExpiry) ?? NODE_CERTIFICATE_LIFETIME_MS;
  const template = { csrPem, nodeId, clusterId, role: 'manager', lifetimeMs } as const;
  const certificatePem = await issueNodeCertificate(signer, template, env);
  const rootCaPem = Buffer.from(rootCa.caCert).toString();
  await identity.replace({ rootCaPem, certificatePem, privateKeyPem });
}
