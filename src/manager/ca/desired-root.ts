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
import { type ExternalAuthority, externalUrls } from './external-ca.js';

/** What judging and changing the root needs. */
export interface RootTools {
  readonly env: Environment;
  readonly external: ExternalAuthority;
}

/**
 * The root that goes with `wanted`; the stored object itself when nothing changes.
 * @throws SkepError invalid_argument; internal when an external authority does not cross-sign
 */
export async function desiredRoot(
  cluster: Cluster,
  wanted: CAConfig | undefined,
  tools: RootTools,
): Promise<RootCA | undefined> {
  const { rootCa } = cluster;
  if (rootCa === undefined || wanted === undefined) return rootCa;
  const certificate = pemBlocks(text(wanted.signingCaCert));
  const key = text(wanted.signingCaKey).trim();
  if (key !== '' && certificate === '') {
    throw invalid('if a signing CA key is provided, the signing CA cert must also be provided');
  }
  const present = text(rootCa.caCert);
  const urls = (root: string): readonly string[] => externalUrls(wanted.externalCas, root, present);
  const required = async (root: string, which: string): Promise<void> => {
    if (await tools.external.isReachable(urls(root), root)) return;
    throw invalid(
      `there must be at least one valid, reachable external CA corresponding to the ${which} CA certificate`,
    );
  };
  if (rootCa.caKey.length === 0) await required(present, 'current');
  const begin = async (next: RootCa): Promise<RootCA> =>
    beginRotation(rootCa, next, { ...tools, urls: urls(present), forceRotate: wanted.forceRotate });
  if (certificate === '') {
    if (rootCa.lastForcedRotation !== wanted.forceRotate) {
      return await begin(await createRootCa(tools.env));
    }
    const { rootRotation } = rootCa;
    const next = text(rootRotation?.caCert ?? new Uint8Array());
    if (rootRotation?.caKey.length === 0) await required(next, 'next');
    return rootCa;
  }
  const next = await checkedRoot(certificate, key, tools.env.clock.nowMs());
  if (key === '') await required(next.certificatePem, 'desired');
  return adopted(rootCa, next, wanted.forceRotate) ?? (await begin(next));
}

/** A root that is there already, as the present or the next one: no rotation begins. */
function adopted(rootCa: RootCA, next: RootCa, forceRotate: bigint): RootCA | undefined {
  const copy = clone(RootCASchema, rootCa);
  copy.lastForcedRotation = forceRotate;
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
  return undefined;
}

async function beginRotation(
  present: RootCA,
  next: RootCa,
  how: RootTools & { readonly urls: readonly string[]; readonly forceRotate: bigint },
): Promise<RootCA> {
  const old = { certificatePem: text(present.caCert), privateKeyPem: text(present.caKey) };
  const copy = clone(RootCASchema, present);
  copy.rootRotation = create(RootRotationSchema, {
    caCert: Buffer.from(next.certificatePem),
    caKey: Buffer.from(next.privateKeyPem),
    crossSignedCaCert: Buffer.from(await crossSigned(old, next, how)),
  });
  copy.lastForcedRotation = how.forceRotate;
  return copy;
}

async function crossSigned(
  old: RootCa,
  next: RootCa,
  how: RootTools & { readonly urls: readonly string[] },
): Promise<string> {
  if (old.privateKeyPem !== '') return await crossSign(next.certificatePem, old, how.env);
  if (next.privateKeyPem === '') {
    throw invalid('rotating from one external CA to a different external CA is not supported');
  }
  if (how.urls.length === 0) {
    throw invalid(
      'must provide an external CA for the current external root CA to generate a cross-signed certificate',
    );
  }
  try {
    return await how.external.crossSign(how.urls, old.certificatePem, next);
  } catch (cause) {
    throw new SkepError(
      'internal',
      'unable to generate a cross-signed certificate for root rotation',
      { cause },
    );
  }
}

/** The root that a user gave; without a key it is that of an external authority. @throws SkepError invalid_argument */
async function checkedRoot(certificatePem: string, key: string, nowMs: number): Promise<RootCa> {
  let bundle: readonly X509Certificate[];
  try {
    bundle = parseBundle(certificatePem);
  } catch {
    // As cfssl's library words it.
    throw invalid(
      'invalid root certificates: {"code":1003,"message":"Failed to parse certificate"}',
    );
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
  const pem = `${certificate.toString().trim()}\n`;
  if (key === '') return { certificatePem: pem, privateKeyPem: '' };
  await signingKey(key);
  if (!certificate.checkPrivateKey(createPrivateKey(key))) {
    throw invalid('certificate key mismatch');
  }
  return { certificatePem: pem, privateKeyPem: `${key}\n` };
}

function isSame(certificatePem: string, stored: Uint8Array): boolean {
  return certificatePem.trim() === text(stored).trim();
}

/** What is no PEM block does not count (SwarmKit's NormalizePEMs). */
function pemBlocks(pem: string): string {
  return (pem.match(/-----BEGIN ([^-\n]+)-----\n[^-]*-----END \1-----/g) ?? []).join('\n');
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}
