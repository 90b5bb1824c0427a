/**
 * X25519 keys as WireGuard wants them, and the tunnel addresses that go with them: each node has a
 * pair of addresses in 240.0.0.0/4, one for keys with even numbers and one for odd ones, so that two
 * keys of a node can be in use side by side.
 */
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { invariant } from '../../model/errors.js';
import { formatIpv4 } from '../addresses.js';

/** Bytes of a key, private or public. */
export const KEY_BYTES = 32;
/** Pair numbers are 1 to this: 27 bits beside the prefix and the parity. */
export const TUNNEL_NUMBER_MAX = 2 ** 27 - 1;
/** A tunnel address no node has: packets to it wait for a key, and are dropped and counted. */
export const NO_KEY_TUNNEL = '240.0.0.0';

const TUNNEL_PREFIX = 0xf0000000;
/** PKCS#8 of an X25519 private key up to the key itself (RFC 8410). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** Makes 32 random bytes a private key, with the bits set as X25519 has it (RFC 7748, 5). */
export function privateKeyFrom(random: Uint8Array): Uint8Array {
  invariant(random.length === KEY_BYTES, 'a key has 32 bytes');
  const key = Uint8Array.from(random);
  key[0] = (key[0] ?? 0) & 248;
  key[31] = ((key[31] ?? 0) & 127) | 64;
  return key;
}

/** The public key of a private one. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return key.export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);
}

/** A node's pair number: from its id, and another one for each further attempt after a clash. */
export function tunnelNumber(nodeId: string, attempt: number): number {
  const digest = createHash('sha256').update(`skep tunnel ${attempt} ${nodeId}`).digest();
  return 1 + (digest.readUInt32BE(0) % TUNNEL_NUMBER_MAX);
}

/** Tunnel address of the key with this number. */
export function tunnelAddress(tunnel: number, generation: bigint): string {
  return formatIpv4(TUNNEL_PREFIX + tunnel * 2 + Number(generation & 1n));
}

/** True for the addresses made here. */
export function isWireguardTunnel(address: string): boolean {
  return Number(address.split('.')[0]) >= 240;
}
