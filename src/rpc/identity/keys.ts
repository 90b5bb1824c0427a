/**
 * Node keys and certificate requests. A key is P-256 in PKCS#8 PEM; the request has an empty
 * subject, as a stock engine's: the manager decides what the certificate says.
 */
import { createPrivateKey, KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { SkepError } from '../../model/errors.js';
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

/** How to sign with a key, as WebCrypto wants it told. */
export type SigningAlgorithm =
  | { readonly name: 'ECDSA'; readonly namedCurve: string; readonly hash: string }
  | { readonly name: 'RSASSA-PKCS1-v1_5'; readonly hash: string };

/** A private key that certificates are signed with. */
export interface SigningKey {
  readonly key: webcrypto.CryptoKey;
  readonly algorithm: SigningAlgorithm;
}

const CURVES: Readonly<Record<string, SigningAlgorithm>> = {
  prime256v1: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  secp384r1: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  secp521r1: { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
};
/** Shorter RSA keys are refused, as SwarmKit does. */
const RSA_BITS_MIN = 2048;
/** As cfssl's library words it. */
const MALFORMED_KEY =
  'malformed private key: {"code":2003,"message":"Failed to parse private key"}';
const RSA: SigningAlgorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };

/**
 * The signing key in a PEM (PKCS#8, SEC 1 or PKCS#1): ECDSA on P-256, P-384 or P-521, or RSA.
 * @throws SkepError invalid_argument with SwarmKit's texts; `unsupported key algorithm`
 */
export async function signingKey(pem: string): Promise<SigningKey> {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new SkepError('invalid_argument', MALFORMED_KEY, { cause });
  }
  const curve = key.asymmetricKeyDetails?.namedCurve ?? '';
  const algorithm = key.asymmetricKeyType === 'rsa' ? RSA : CURVES[curve];
  if (
    key.asymmetricKeyType === 'rsa' &&
    (key.asymmetricKeyDetails?.modulusLength ?? 0) < RSA_BITS_MIN
  ) {
    throw new SkepError('invalid_argument', 'unsupported RSA key parameters');
  }
  if (algorithm === undefined) {
    throw new SkepError('invalid_argument', 'unsupported key algorithm');
  }
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  const imported = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']);
  return { key: imported, algorithm };
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

/** Whether a certificate is for the key that signed this request; false also if one does not parse. */
export function keyMatchesRequest(csrPem: string, certificatePem: string): boolean {
  try {
    const request = new x509.Pkcs10CertificateRequest(csrPem);
    const certified = new X509Certificate(certificatePem).publicKey.export({
      type: 'spki',
      format: 'der',
    });
    return certified.equals(Buffer.from(request.publicKey.rawData));
  } catch {
    return false;
  }
}

/** Whether `keyPem` is the private key of `certificatePem`; false also if either does not parse. */
export function keyMatchesCertificate(keyPem: string, certificatePem: string): boolean {
  try {
    return new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}
