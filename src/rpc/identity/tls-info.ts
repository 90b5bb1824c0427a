/**
 * What Docker's API calls TLSInfo: a trust root, and by whom the node's certificate is issued, as
 * subject and public key, both DER. Nodes and cluster are compared by it.
 */
import type { TlsIdentity } from '../types.js';
import { issuerOf } from './root-ca.js';
import { x509 } from './x509-provider.js';

/** Who issues certificates. */
export interface IssuerInfo {
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** Trust root and issuer. */
export interface TlsInfo {
  readonly trustRoot: string;
  readonly issuer: IssuerInfo;
}

const END = '-----END CERTIFICATE-----';

/** The first certificate of a bundle as an issuer. @throws Error when it does not parse */
export function issuerInfo(certificatePem: string): IssuerInfo {
  const certificate = new x509.X509Certificate(
    certificatePem.slice(0, certificatePem.indexOf(END) + END.length),
  );
  return {
    subject: new Uint8Array(certificate.subjectName.toArrayBuffer()),
    publicKey: new Uint8Array(certificate.publicKey.rawData),
  };
}

/** Whether two issuers are one. */
export function isSameIssuer(a: IssuerInfo, b: IssuerInfo): boolean {
  return (
    Buffer.compare(a.subject, b.subject) === 0 && Buffer.compare(a.publicKey, b.publicKey) === 0
  );
}

/** What a node trusts, and who issued its certificate. */
export function tlsInfoOf({ rootCaPem, certificatePem }: TlsIdentity): TlsInfo {
  const issuer = issuerOf(certificatePem, rootCaPem);
  return { trustRoot: rootCaPem, issuer: issuerInfo(issuer?.toString() ?? rootCaPem) };
}
