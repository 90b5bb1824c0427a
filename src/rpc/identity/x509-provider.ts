/**
 * The x509 library bound to Node's WebCrypto. Import x509 from here only: the library needs
 * `reflect-metadata` first and a crypto provider before its first use.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

export { x509 };

/** Key and signature algorithm of all our certificates, as SwarmKit's. */
export const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

type Crypto = Parameters<typeof x509.cryptoProvider.set>[0];
