/**
 * The records by which nodes tell each other their WireGuard keys: signed with the node's TLS key and
 * carried with its certificate, so that a receiver needs nothing but the cluster's root certificate.
 * The gossip that carries them is not trusted: whoever can write into it can at most hold a record
 * back.
 */
import { createPrivateKey, sign, verify, X509Certificate } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type EncryptionKeys,
  EncryptionGenerationSchema,
  EncryptionKeyRecordSchema,
  EncryptionKeysSchema,
} from '../../model/gen/skep/network/v1/tables_pb.js';
import { isSignedBy, readNodeCertificate, withIntermediates } from '../../rpc/identity/root-ca.js';
import type { TlsIdentity } from '../../rpc/types.js';
import { isUnicast } from '../addresses.js';
import { ENTRY_BYTES_MAX, KEY_CLOCK_SKEW_MS } from '../limits.js';
import { KEY_BYTES, TUNNEL_NUMBER_MAX } from './keys.js';

/** Gossip table of these records. Stock engines pass entries of tables they do not know on. */
export const KEY_TABLE = 'skep_wgkey';

/** Signed before the keys, so that the signature can mean nothing else. */
const SIGNED_PREFIX = Buffer.from('skep encryption keys 1\n');
const NODE_ID_LENGTH_MAX = 64;
/** One in use, and one it is replaced by. */
const GENERATIONS_MAX = 2;

/** One key of a node. */
export interface KeyGeneration {
  readonly number: bigint;
  /** Lower-case hexadecimal. */
  readonly publicKey: string;
  /** UDP port its device listens on. */
  readonly port: number;
}

/** What a node says about its keys. */
export interface NodeKeys {
  readonly nodeId: string;
  readonly sequence: bigint;
  readonly expiresMs: number;
  readonly underlayAddress: string;
  /** Number of its pair of tunnel addresses. */
  readonly tunnel: number;
  /** Oldest first, at least one. */
  readonly generations: readonly KeyGeneration[];
}

/** Why a record is not believed. */
export type RecordRefusal =
  | 'malformed'
  /** Not a node certificate of this cluster's root, or outside its time. */
  | 'certificate'
  /** Certificate, keys and announcer do not name one and the same node. */
  | 'node'
  | 'signature'
  | 'expired';

/** A record that was read. */
export type ReadRecord =
  | { readonly kind: 'valid'; readonly keys: NodeKeys }
  | { readonly kind: 'refused'; readonly why: RecordRefusal };

/** Makes the record of this node. */
export function writeKeyRecord(keys: NodeKeys, identity: TlsIdentity): Uint8Array {
  const bytes = toBinary(
    EncryptionKeysSchema,
    create(EncryptionKeysSchema, {
      nodeId: keys.nodeId,
      sequence: keys.sequence,
      expiresMs: BigInt(keys.expiresMs),
      underlayAddress: keys.underlayAddress,
      tunnel: keys.tunnel,
      generations: keys.generations.map(({ number, publicKey, port }) =>
        create(EncryptionGenerationSchema, {
          number,
          publicKey: Buffer.from(publicKey, 'hex'),
          port,
        }),
      ),
    }),
  );
  const signature = sign('sha256', signedBytes(bytes), createPrivateKey(identity.privateKeyPem));
  return toBinary(
    EncryptionKeyRecordSchema,
    create(EncryptionKeyRecordSchema, {
      keys: bytes,
      signature,
      certificate: new X509Certificate(identity.certificatePem).raw,
    }),
  );
}

/** What a record is judged by. */
export interface RecordJudge {
  /** Name in gossip of the node that announced it: a node speaks for itself only. */
  readonly owner: string;
  /** The cluster's root certificates, and this node's own certificate, which names the cluster. */
  readonly identity: TlsIdentity;
  readonly nowMs: number;
}

/** Reads and checks the record of another node. Whether it is newer than another is not judged here. */
export function readKeyRecord(bytes: Uint8Array, judge: RecordJudge): ReadRecord {
  const refused = (why: RecordRefusal): ReadRecord => ({ kind: 'refused', why });
  if (bytes.length > ENTRY_BYTES_MAX) return refused('malformed');
  try {
    const record = fromBinary(EncryptionKeyRecordSchema, bytes);
    const certificate = new X509Certificate(record.certificate);
    const nodeId = certifiedNode(certificate, judge);
    if (nodeId === undefined) return refused('certificate');
    const signed = signedBytes(record.keys);
    if (!verify('sha256', signed, certificate.publicKey, record.signature)) {
      return refused('signature');
    }
    const keys = plainKeys(fromBinary(EncryptionKeysSchema, record.keys));
    if (keys === undefined) return refused('malformed');
    if (keys.nodeId !== nodeId || nodeId !== judge.owner) return refused('node');
    if (keys.expiresMs + KEY_CLOCK_SKEW_MS < judge.nowMs) return refused('expired');
    return { kind: 'valid', keys };
  } catch {
    // Bytes of somebody else: the caller counts them.
    return refused('malformed');
  }
}

/** The node a certificate of this cluster belongs to. */
function certifiedNode(certificate: X509Certificate, judge: RecordJudge): string | undefined {
  const pem = certificate.toString();
  const { identity, nowMs } = judge;
  // While the root rotates, nodes have certificates of the next one: so has this node, or will.
  const issuers = withIntermediates(identity.rootCaPem, identity.certificatePem);
  if (!isSignedBy(pem, issuers)) return undefined;
  try {
    const facts = readNodeCertificate(pem);
    const own = readNodeCertificate(identity.certificatePem);
    if (facts.clusterId !== own.clusterId) return undefined;
    if (nowMs + KEY_CLOCK_SKEW_MS < facts.notBeforeMs || nowMs > facts.notAfterMs) return undefined;
    return facts.nodeId;
  } catch {
    // Signed by the root, but no node's.
    return undefined;
  }
}

function signedBytes(keys: Uint8Array): Buffer {
  return Buffer.concat([SIGNED_PREFIX, keys]);
}

/** The keys with every value in range, or undefined. */
function plainKeys(message: EncryptionKeys): NodeKeys | undefined {
  const { nodeId, sequence, expiresMs, underlayAddress, tunnel } = message;
  if (nodeId === '' || nodeId.length > NODE_ID_LENGTH_MAX || sequence === 0n) return undefined;
  if (!isUnicast(underlayAddress) || tunnel < 1 || tunnel > TUNNEL_NUMBER_MAX) return undefined;
  const count = message.generations.length;
  if (count < 1 || count > GENERATIONS_MAX) return undefined;
  const generations: KeyGeneration[] = [];
  for (const { number, publicKey, port } of message.generations) {
    if (publicKey.length !== KEY_BYTES || port < 1 || port > 65_535) return undefined;
    const last = generations.at(-1);
    if (last !== undefined && number !== last.number + 1n) return undefined;
    generations.push({ number, publicKey: Buffer.from(publicKey).toString('hex'), port });
  }
  const expires = Number(expiresMs);
  if (!Number.isSafeInteger(expires)) return undefined;
  return { nodeId, sequence, expiresMs: expires, underlayAddress, tunnel, generations };
}
