/** Requests for a certificate of an authority that exists already: its name, signed by its key. */
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto';
import { signingKey } from './keys.js';
import type { RootCa } from './root-ca.js';
import { x509 } from './x509-provider.js';

/** A request and the name in it, as cfssl wants it told. */
export interface CaRequest {
  readonly csrPem: string;
  readonly commonName: string;
  /** Parts of the name by cfssl's keys: C, ST, L, O, OU. */
  readonly names: Readonly<Record<string, string>>;
}

const NAME_PARTS = ['C', 'ST', 'L', 'O', 'OU'];

/** Makes the request. @throws SkepError invalid_argument for keys of a kind that is not supported */
export async function caRequest(root: RootCa): Promise<CaRequest> {
  const certificate = new x509.X509Certificate(root.certificatePem);
  const { key, algorithm } = await signingKey(root.privateKeyPem);
  const spki = createPublicKey(createPrivateKey(root.privateKeyPem)).export({
    type: 'spki',
    format: 'der',
  });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: certificate.subjectName,
    keys: { privateKey: key, publicKey },
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const part = (name: string): string => certificate.subjectName.getField(name)[0] ?? '';
  const names = NAME_PARTS.filter((name) => part(name) !== '').map((name) => [name, part(name)]);
  return {
    csrPem: `${request.toString('pem')}\n`,
    commonName: part('CN'),
    names: Object.fromEntries(names) as Record<string, string>,
  };
}
