/**
 * Node keys and certificate requests. A key is P-256 in PKCS#8 PEM; the request has an empty
 * subject, as a stock engine's: the manager decides what the certificate says.
 */
import { createPrivateKey, KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { KEY_ALGORITHM, x509 } from './x509-provider.js';

/** A new private key and the request to have it certified. */
export interface CertificateRequest {
  readonly csrPem: string;
  readonly privateKeyPem: string;
}

/** Makes a P-256 key pair. */
export async function newKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify']);
}

/** PKCS#8 PEM of a WebCrypto private key. */
export function privateKeyPem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** The WebCrypto signing key of a P-256 private key in PEM (PKCS#8 or SEC 1). */
export async function signingKey(pem: string): Promise<webcrypto.CryptoKey> {
  const pkcs8 = createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', pkcs8, KEY_ALGORITHM, false, ['sign']);
}

/** A fresh key with its certificate request. */
export async function newCertificateRequest(): Promise<CertificateRequest> {
  const keys = await newKeyPair();
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: '',
    keys,
    signingAlgorithm: KEY_ALGORITHM,
  });
  return { csrPem: `${csr.toString('pem')}\n`, privateKeyPem: privateKeyPem(keys.privateKey) };
}

/** Whether `keyPem` is the private key of `certificatePem`; false also if either does not parse. */
export function keyMatchesCertificate(keyPem: string, certificatePem: string): boolean {
  try {
    return new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}
