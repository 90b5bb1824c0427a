/**
 * The cluster's root certificate authority: making one, and issuing node certificates with
 * SwarmKit's subjects, names and usages (ca/certificates.go), so that stock engines accept them.
 */
import { createHash, X509Certificate } from 'node:crypto';
import type { Environment, RandomSource } from '../../model/environment.js';
import { invariant, SkepError } from '../../model/errors.js';
import {
  CERTIFICATE_BACKDATE_MS,
  CSR_BYTES_MAX,
  NODE_CERTIFICATE_LIFETIME_MS_MIN,
  ROOT_CA_LIFETIME_MS,
} from '../limits.js';
import { MANAGER_ROLE, WORKER_ROLE } from '../peer.js';
import { newKeyPair, privateKeyPem, type SigningKey, signingKey } from './keys.js';
import { KEY_ALGORITHM, x509 } from './x509-provider.js';

/** CN of every root certificate. */
export const ROOT_CA_NAME = 'swarm-ca';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const SERIAL_BYTES = 20;

/** A root certificate with its key, both PEM. */
export interface RootCa {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

/** What node certificates are signed with. */
export interface SigningCa extends RootCa {
  /** Goes behind each certificate, so that it also leads to another root. */
  readonly intermediatePem?: string;
}

/** What a node certificate says. */
export interface NodeCertificateTemplate {
  readonly csrPem: string;
  readonly nodeId: string;
  readonly role: 'worker' | 'manager';
  readonly clusterId: string;
  /** Life from now on; at least one hour. */
  readonly lifetimeMs: number;
}

/** Makes a self-signed root: P-256, CN `swarm-ca`, 20 years, backdated one hour. */
export async function createRootCa(env: Environment): Promise<RootCa> {
  const keys = await newKeyPair();
  const nowMs = env.clock.nowMs();
  const { KeyUsageFlags } = x509;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(env.random),
    name: `CN=${ROOT_CA_NAME}`,
    notBefore: new Date(nowMs - CERTIFICATE_BACKDATE_MS),
    notAfter: new Date(nowMs + ROOT_CA_LIFETIME_MS),
    signingAlgorithm: KEY_ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificatePem: `${certificate.toString('pem')}\n`,
    privateKeyPem: privateKeyPem(keys.privateKey),
  };
}

/**
 * Issues a node certificate for the key of a request, whose own subject is ignored.
 * @throws SkepError invalid_argument if the request is malformed or not signed by its key
 */
export async function issueNodeCertificate(
  root: SigningCa,
  template: NodeCertificateTemplate,
  env: Environment,
): Promise<string> {
  const { nodeId, clusterId, role } = template;
  invariant(/^[\w.-]+$/.test(nodeId) && /^[\w.-]+$/.test(clusterId), 'ids fit a subject name');
  const request = await verifiedRequest(template.csrPem);
  const unit = role === 'manager' ? MANAGER_ROLE : WORKER_ROLE;
  const names = role === 'manager' ? [unit, nodeId, ROOT_CA_NAME] : [unit, nodeId];
  const nowMs = env.clock.nowMs();
  const lifetimeMs = Math.max(template.lifetimeMs, NODE_CERTIFICATE_LIFETIME_MS_MIN);
  const { issuer, signer, keyId } = await parsedIssuer(root);
  const { KeyUsageFlags } = x509;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(env.random),
    subject: `O=${clusterId}, OU=${unit}, CN=${nodeId}`,
    // As it stands there, byte for byte: verifiers compare names so.
    issuer: issuer.subjectName,
    notBefore: new Date(nowMs - CERTIFICATE_BACKDATE_MS),
    notAfter: new Date(nowMs + lifetimeMs),
    signingAlgorithm: signer.algorithm,
    publicKey: request.publicKey,
    signingKey: signer.key,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(
        KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH]),
      new x509.AuthorityKeyIdentifierExtension(keyId),
      new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }))),
    ],
  });
  return `${certificate.toString('pem')}\n${root.intermediatePem ?? ''}`;
}

interface Issuer {
  readonly issuer: x509.X509Certificate;
  readonly signer: SigningKey;
  readonly keyId: string;
}

/** The root that signed last: joining nodes come by the thousand, and it takes longer to read than to sign. */
let lastIssuer: { readonly root: RootCa; readonly parsed: Promise<Issuer> } | undefined;

function parsedIssuer({ certificatePem, privateKeyPem }: RootCa): Promise<Issuer> {
  const isLast =
    lastIssuer?.root.certificatePem === certificatePem &&
    lastIssuer.root.privateKeyPem === privateKeyPem;
  if (lastIssuer !== undefined && isLast) return lastIssuer.parsed;
  const parse = async (): Promise<Issuer> => {
    const issuer = new x509.X509Certificate(certificatePem);
    const signer = await signingKey(privateKeyPem);
    return { issuer, signer, keyId: await subjectKeyId(issuer) };
  };
  lastIssuer = { root: { certificatePem, privateKeyPem }, parsed: parse() };
  return lastIssuer.parsed;
}

/**
 * A certificate of the new root's name and key, signed by the old root: whatever the new root
 * issues then also leads to the old one (SwarmKit CrossSignCACertificate).
 */
export async function crossSign(
  newRootPem: string,
  old: RootCa,
  env: Environment,
): Promise<string> {
  const subject = new x509.X509Certificate(newRootPem);
  const issuer = new x509.X509Certificate(old.certificatePem);
  const signer = await signingKey(old.privateKeyPem);
  const { KeyUsageFlags } = x509;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(env.random),
    subject: subject.subjectName,
    issuer: issuer.subjectName,
    notBefore: new Date(env.clock.nowMs() - CERTIFICATE_BACKDATE_MS),
    notAfter: new Date(Math.min(subject.notAfter.getTime(), issuer.notAfter.getTime())),
    signingAlgorithm: signer.algorithm,
    publicKey: subject.publicKey,
    signingKey: signer.key,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new x509.SubjectKeyIdentifierExtension(await subjectKeyId(subject)),
      new x509.AuthorityKeyIdentifierExtension(await subjectKeyId(issuer)),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

/** The key id that a certificate gives itself, or the usual one; in hex. */
async function subjectKeyId(certificate: x509.X509Certificate): Promise<string> {
  const own = certificate.getExtension(x509.SubjectKeyIdentifierExtension);
  return (own ?? (await x509.SubjectKeyIdentifierExtension.create(certificate.publicKey))).keyId;
}

/** SHA-256 of a root bundle exactly as served; join tokens carry it. */
export function rootCaDigest(bundlePem: Uint8Array | string): Buffer {
  return createHash('sha256').update(bundlePem).digest();
}

/** Role, node, cluster and times that a node certificate states. @throws SkepError invalid_argument */
export interface NodeCertificateFacts {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly role: 'worker' | 'manager';
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/**
 * Reads a node certificate.
 * @throws SkepError invalid_argument when it does not parse or names no role
 */
export function readNodeCertificate(certificatePem: string): NodeCertificateFacts {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certificatePem);
  } catch (cause) {
    throw new SkepError('invalid_argument', 'node certificate does not parse', { cause });
  }
  const subject = new Map(
    certificate.subject.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const unit = subject.get('OU');
  if (unit !== MANAGER_ROLE && unit !== WORKER_ROLE) {
    throw new SkepError('invalid_argument', 'certificate names no role of a swarm node');
  }
  return {
    nodeId: subject.get('CN') ?? '',
    clusterId: subject.get('O') ?? '',
    role: unit === MANAGER_ROLE ? 'manager' : 'worker',
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
  };
}

/** The certificates of a PEM bundle, in order. @throws SkepError invalid_argument */
export function parseBundle(bundlePem: string): readonly X509Certificate[] {
  const blocks = bundlePem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  try {
    return (blocks ?? []).map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new SkepError('invalid_argument', 'certificate bundle does not parse', { cause });
  }
}

/**
 * Whether one of the roots in `bundlePem` signed the first certificate of `chainPem`, itself or
 * through the certificates that follow it there.
 */
export function isSignedBy(chainPem: string, bundlePem: string): boolean {
  return issuerOf(chainPem, bundlePem) !== undefined;
}

/**
 * The certificate that signed the first one of `chainPem`: a root of `bundlePem`, or one that
 * follows in the chain and leads to a root. Times are not looked at.
 */
export function issuerOf(chainPem: string, bundlePem: string): X509Certificate | undefined {
  const roots = parseBundle(bundlePem);
  const [certificate, ...intermediates] = parseBundle(chainPem);
  if (certificate === undefined) return undefined;
  const signs = (issuer: X509Certificate, subject: X509Certificate): boolean =>
    issuer.ca && subject.verify(issuer.publicKey);
  const trusted = intermediates.filter((ca) => roots.some((root) => signs(root, ca)));
  return [...roots, ...trusted].find((issuer) => signs(issuer, certificate));
}

/** A root bundle together with those of the chain's certificates that lead to it. */
export function withIntermediates(bundlePem: string, chainPem: string): string {
  const [, ...intermediates] = parseBundle(chainPem);
  const trusted = intermediates.filter((ca) => isSignedBy(ca.toString(), bundlePem));
  return [bundlePem, ...trusted.map((ca) => ca.toString())].join('\n');
}

async function verifiedRequest(csrPem: string): Promise<x509.Pkcs10CertificateRequest> {
  if (csrPem.length > CSR_BYTES_MAX) {
    throw new SkepError('invalid_argument', 'certificate request is too large');
  }
  try {
    const request = new x509.Pkcs10CertificateRequest(csrPem);
    if (await request.verify()) return request;
  } catch (cause) {
    throw new SkepError('invalid_argument', 'certificate request does not parse', { cause });
  }
  throw new SkepError('invalid_argument', 'certificate request is not signed by its key');
}

/** 159 random bits, positive and without a leading zero byte, as RFC 5280 wants. */
function newSerial(random: RandomSource): string {
  const bytes = Buffer.from(random.bytes(SERIAL_BYTES));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
