/**
 * What Docker's API calls TLSInfo: a trust root with the subject and the public key of its issuer,
 * both DER.
 */
import { x509 } from './x509-provider.js';

/** Trust root and the parts of it that nodes are compared by. */
export interface TlsInfo {
  readonly trustRoot: string;
  readonly issuerSubject: Uint8Array;
  readonly issuerPublicKey: Uint8Array;
}

const END = '-----END CERTIFICATE-----';

/** Reads the first certificate of a root bundle. @throws Error when it does not parse */
export function tlsInfoOf(rootCaPem: string): TlsInfo {
  const certificate = new x509.X509Certificate(
    rootCaPem.slice(0, rootCaPem.indexOf(END) + END.length),
  );
  return {
    trustRoot: rootCaPem,
    issuerSubject: new Uint8Array(certificate.subjectName.toArrayBuffer()),
    issuerPublicKey: new Uint8Array(certificate.publicKey.rawData),
  };
}
