/**
 * What the cluster's root is to be after a change of its CA settings (SwarmKit
 * controlapi/ca_rotation.go, whose rules and texts these are): the present one, one whose rotation
 * begins, one whose rotation is called off.
 */
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { Cluster } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type CAConfig,
  type RootCA,
  RootCASchema,
  RootRotationSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { signingKey } from '../../rpc/identity/keys.js';
import { createRootCa, crossSign, parseBundle, type RootCa } from '../../rpc/identity/root-ca.js';
import { ROOT_CA_REST_MS_MIN } from './constants.js';

/**
 * The root that goes with `wanted`; the stored object itself when nothing changes.
 * @throws SkepError invalid_argument | unimplemented
 */
export async function desiredRoot(
  cluster: Cluster,
  wanted: CAConfig | undefined,
  env: Environment,
): Promise<RootCA | undefined> {
  const { rootCa } = cluster;
  if (rootCa === undefined || wanted === undefined) return rootCa;
  const certificate = text(wanted.signingCaCert).trim();
  const key = text(wanted.signingCaKey).trim();
  if (key !== '' && certificate === '') {
    throw invalid('if a signing CA key is provided, the signing CA cert must also be provided');
  }
  if (wanted.externalCas.length > 0) {
    throw new SkepError('unimplemented', 'external certificate authorities are not supported');
  }
  if (certificate === '') {
    if (rootCa.lastForcedRotation === wanted.forceRotate) return rootCa;
    return await beginRotation(rootCa, await createRootCa(env), wanted.forceRotate, env);
  }
  const next = await checkedRoot(certificate, key, env.clock.nowMs());
  const copy = clone(RootCASchema, rootCa);
  copy.lastForcedRotation = wanted.forceRotate;
  if (isSame(next.certificatePem, rootCa.caCert)) {
    // Back to the present root: a rotation under way is called off.
    copy.caKey = Buffer.from(next.privateKeyPem);
    delete copy.rootRotation;
    return copy;
  }
  if (copy.rootRotation !== undefined && isSame(next.certificatePem, copy.rootRotation.caCert)) {
    copy.rootRotation.caKey = Buffer.from(next.privateKeyPem);
    return copy;
  }
  return await beginRotation(rootCa, next, wanted.forceRotate, env);
}

async function beginRotation(
  present: RootCA,
  next: RootCa,
  forceRotate: bigint,
  env: Environment,
): Promise<RootCA> {
  const old = { certificatePem: text(present.caCert), privateKeyPem: text(present.caKey) };
  const copy = clone(RootCASchema, present);
  copy.rootRotation = create(RootRotationSchema, {
    caCert: Buffer.from(next.certificatePem),
    caKey: Buffer.from(next.privateKeyPem),
    crossSignedCaCert: Buffer.from(await crossSign(next.certificatePem, old, env)),
  });
  copy.lastForcedRotation = forceRotate;
  return copy;
}

/** The root that a user gave. @throws SkepError invalid_argument */
async function checkedRoot(certificatePem: string, key: string, nowMs: number): Promise<RootCa> {
  let bundle: readonly X509Certificate[];
  try {
    bundle = parseBundle(certificatePem);
  } catch {
    throw invalid('could not parse the desired CA certificate');
  }
  const [certificate] = bundle;
  if (certificate === undefined) throw invalid('no valid root CA certificates found');
  if (bundle.length > 1) {
    throw invalid('the desired CA certificate cannot contain multiple certificates');
  }
  if (!certificate.ca || !certificate.verify(certificate.publicKey)) {
    throw invalid('the desired CA certificate is not a self-signed certificate of an authority');
  }
  if (Date.parse(certificate.validTo) < nowMs + ROOT_CA_REST_MS_MIN) {
    throw invalid('CA certificate expires too soon');
  }
  if (key === '') {
    throw invalid(
      'there must be at least one valid, reachable external CA corresponding to the desired CA certificate',
    );
  }
  await signingKey(key);
  if (!certificate.checkPrivateKey(createPrivateKey(key))) {
    throw invalid('certificate key mismatch');
  }
  return { certificatePem: `${certificate.toString().trim()}\n`, privateKeyPem: `${key}\n` };
}

function isSame(certificatePem: string, stored: Uint8Array): boolean {
  return certificatePem.trim() === text(stored).trim();
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}
