/**
 * The certificate part of the cluster object: root, join tokens, black list. Pure functions on the
 * messages; who stores the results is the caller's business.
 */
import { X509Certificate } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { RandomSource } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type Cluster,
  ClusterSchema,
  type Node,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  BlacklistedCertificateSchema,
  type RootCA,
  RootCASchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newJoinToken } from '../../rpc/identity/join-token.js';
import { type RootCa, rootCaDigest, type SigningCa } from '../../rpc/identity/root-ca.js';
import { BLACKLIST_GRACE_MS } from './constants.js';

/** The stored form of a new root, with fresh join tokens. */
export function newRootCaMessage(root: RootCa, random: RandomSource): RootCA {
  return create(RootCASchema, {
    caKey: Buffer.from(root.privateKeyPem),
    caCert: Buffer.from(root.certificatePem),
    caCertHash: `sha256:${rootCaDigest(root.certificatePem).toString('hex')}`,
    joinTokens: {
      worker: newJoinToken(root.certificatePem, random),
      manager: newJoinToken(root.certificatePem, random),
    },
  });
}

/**
 * What certificates are signed with: during a rotation the new root's key, with the certificate
 * behind them that leads to the old root. Undefined when the key is not in the store.
 */
export function signingCaOf({ caCert, caKey, rootRotation }: RootCA): SigningCa | undefined {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  const key = rootRotation?.caKey ?? caKey;
  if (key.length === 0) return undefined;
  if (rootRotation === undefined) return { certificatePem: text(caCert), privateKeyPem: text(key) };
  const intermediatePem = text(rootRotation.crossSignedCaCert);
  return { certificatePem: intermediatePem, privateKeyPem: text(key), intermediatePem };
}

/** A copy of `cluster` with new join tokens as asked for (`swarm join-token --rotate`). */
export function rotateJoinTokens(
  cluster: Cluster,
  which: { readonly worker: boolean; readonly manager: boolean },
  random: RandomSource,
): Cluster {
  const copy = clone(ClusterSchema, cluster);
  const tokens = copy.rootCa?.joinTokens;
  if (copy.rootCa === undefined || tokens === undefined) {
    throw new SkepError('failed_precondition', 'cluster has no root CA');
  }
  if (which.worker) tokens.worker = newJoinToken(copy.rootCa.caCert, random);
  if (which.manager) tokens.manager = newJoinToken(copy.rootCa.caCert, random);
  return copy;
}

/**
 * A copy of `cluster` on whose black list `node` is, until its certificate has expired; entries
 * that are past their grace go. Part of removing a node.
 */
export function blacklistNode(cluster: Cluster, node: Node, nowMs: number): Cluster {
  const copy = clone(ClusterSchema, cluster);
  for (const [nodeId, entry] of Object.entries(copy.blacklistedCertificates)) {
    if (entry.expiry === undefined) continue;
    if (timestampMs(entry.expiry) + BLACKLIST_GRACE_MS < nowMs) {
      delete copy.blacklistedCertificates[nodeId];
    }
  }
  const expiryMs = certificateExpiryMs(node);
  copy.blacklistedCertificates[node.id] = create(
    BlacklistedCertificateSchema,
    expiryMs === undefined ? {} : { expiry: timestampFromMs(expiryMs) },
  );
  return copy;
}

function certificateExpiryMs(node: Node): number | undefined {
  const pem = node.certificate?.certificate;
  if (pem === undefined || pem.length === 0) return undefined;
  return Date.parse(new X509Certificate(pem).validTo);
}
