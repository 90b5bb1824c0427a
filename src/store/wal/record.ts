/**
 * The unit of everything the log writes: a record, encrypted and checked. Layout, little-endian:
 *
 *   0  u16 magic    2  u8 version   3  u8 type      4  u32 body length   8  u32 key id
 *   12 u32 durable offset           16 u32 CRC-32C of body and padding
 *   20 u32 file sequence            24 u32 offset in the file            28 u32 CRC-32C of 0..28
 *   32 body: nonce (12), AES-256-GCM cipher text, tag (16); padded with 0xff to 32 bytes
 *
 * Records begin at multiples of 32, so a header never straddles a disk sector, and each sector
 * holds at least 32 bytes of a record it touches, never all zero: in a zero-filled file a torn
 * write can be told from damage. The durable offset says how much of the file was known to be on
 * disk when the record was written: a later record thus bears witness that what is now unreadable
 * was once acknowledged. Header fields are authenticated along with the body.
 */
import { type CipherGCM, createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { invariant, SkepError } from '../../model/errors.js';
import { crc32c } from './crc32c.js';

/** Bytes of a record's header, and what records are aligned to. */
export const RECORD_ALIGNMENT = 32;

const MAGIC = 0x534b;
const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const PADDING = 0xff;
const SECTOR_BYTES = 512;

/** Types of records; the numbers are on disk and never change. */
export const RECORD_TYPES = {
  segmentHeader: 1,
  entry: 2,
  hardState: 3,
  snapshotMarker: 4,
  segmentEnd: 5,
  snapshotHead: 6,
  snapshotChunk: 7,
  snapshotEnd: 8,
} as const;

/** Name of a record's type. */
export type RecordType = keyof typeof RECORD_TYPES;

const TYPE_NAMES = new Map(
  (Object.entries(RECORD_TYPES) as [RecordType, number][]).map(([name, code]) => [code, name]),
);

/** A key that encrypts state at rest, and the number under which records name it. */
export interface DataKey {
  /** In [0, 2^32). */
  readonly keyId: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** Where a record stands: it cannot be read from anywhere else. */
export interface RecordPlace {
  readonly sequence: number;
  readonly offset: number;
}

/** A record's content. */
export interface PlainRecord {
  readonly type: RecordType;
  readonly plain: Uint8Array;
}

/** A header that is intact. */
export interface RecordHeader {
  readonly type: RecordType;
  readonly bodyBytes: number;
  readonly keyId: number;
  readonly durableOffset: number;
  readonly bodyCrc: number;
}

/** Bytes that a body of `bodyBytes` takes in a file, header and padding included. */
export function framedBytes(bodyBytes: number): number {
  return Math.ceil((RECORD_ALIGNMENT + bodyBytes) / RECORD_ALIGNMENT) * RECORD_ALIGNMENT;
}

/** Bytes that a plain record takes in a file. */
export function recordBytes(plainBytes: number): number {
  return framedBytes(NONCE_BYTES + plainBytes + TAG_BYTES);
}

/** For one record. */
interface Seal {
  readonly nonce: Uint8Array;
  readonly cipher: CipherGCM;
}

/** Encrypts with the first of the keys, decrypts with any. */
export class RecordCipher {
  readonly #keys = new Map<number, Uint8Array>();
  #current: DataKey;
  #prepared: Seal | undefined;

  constructor(keys: readonly DataKey[]) {
    const [current] = keys;
    invariant(current !== undefined, 'the log needs a data encryption key');
    this.#current = current;
    for (const key of keys) this.#add(key);
  }

  /** Encrypts with `key` from now on; what older keys encrypted stays readable. */
  use(key: DataKey): void {
    this.#add(key);
    this.#current = key;
    this.#prepared = undefined;
  }

  /** Does what the next `seal` needs and can be done before its record is known. */
  prepare(): void {
    this.#prepared ??= this.#newSeal();
  }

  #newSeal(): Seal {
    const nonce = randomBytes(NONCE_BYTES);
    return { nonce, cipher: createCipheriv('aes-256-gcm', this.#current.key, nonce) };
  }

  #add({ keyId, key }: DataKey): void {
    invariant(key.length === 32, 'a data encryption key has 32 bytes');
    invariant(keyId >= 0 && keyId < 2 ** 32, 'a key id has 32 bits');
    this.#keys.set(keyId, key);
  }

  /** The framed bytes of a record for this place. */
  seal(record: PlainRecord, place: RecordPlace, durableOffset: number): Buffer {
    const framed = Buffer.allocUnsafe(recordBytes(record.plain.length));
    this.sealInto(framed, record, place, durableOffset);
    return framed;
  }

  /** The same into `framed`, which has just the length for it. */
  sealInto(framed: Buffer, record: PlainRecord, place: RecordPlace, durableOffset: number): void {
    const { type, plain } = record;
    const bodyBytes = NONCE_BYTES + plain.length + TAG_BYTES;
    framed.fill(0, 0, RECORD_ALIGNMENT);
    framed.writeUInt16LE(MAGIC, 0);
    framed.writeUInt8(VERSION, 2);
    framed.writeUInt8(RECORD_TYPES[type], 3);
    framed.writeUInt32LE(bodyBytes, 4);
    framed.writeUInt32LE(this.#current.keyId, 8);
    framed.writeUInt32LE(durableOffset, 12);
    framed.writeUInt32LE(place.sequence, 20);
    framed.writeUInt32LE(place.offset, 24);
    const { nonce, cipher } = this.#prepared ?? this.#newSeal();
    this.#prepared = undefined;
    cipher.setAAD(framed.subarray(0, RECORD_ALIGNMENT));
    framed.set(nonce, RECORD_ALIGNMENT);
    const body = RECORD_ALIGNMENT + NONCE_BYTES;
    framed.set(cipher.update(plain), body);
    cipher.final();
    framed.set(cipher.getAuthTag(), body + plain.length);
    framed.fill(PADDING, body + plain.length + TAG_BYTES);
    framed.writeUInt32LE(crc32c(framed, RECORD_ALIGNMENT), 16);
    framed.writeUInt32LE(crc32c(framed, 0, 28), 28);
  }

  /**
   * The content of the record at `offset`, whose header and body are intact.
   * @throws SkepError permission_denied when it was written with another key.
   */
  open(file: Buffer, offset: number, header: RecordHeader): PlainRecord {
    const key = this.#keys.get(header.keyId);
    if (key === undefined) {
      throw new SkepError('permission_denied', `the log needs data encryption key ${header.keyId}`);
    }
    const aad = Buffer.from(file.subarray(offset, offset + RECORD_ALIGNMENT));
    aad.fill(0, 16, 20);
    aad.fill(0, 28, 32);
    const bodyAt = offset + RECORD_ALIGNMENT;
    const tagAt = bodyAt + header.bodyBytes - TAG_BYTES;
    const nonce = file.subarray(bodyAt, bodyAt + NONCE_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(aad);
    decipher.setAuthTag(file.subarray(tagAt, tagAt + TAG_BYTES));
    try {
      const plain = decipher.update(file.subarray(bodyAt + NONCE_BYTES, tagAt));
      decipher.final();
      return { type: header.type, plain };
    } catch (error) {
      throw new SkepError(
        'permission_denied',
        `data encryption key ${header.keyId} is not the one the log was written with`,
        { cause: error },
      );
    }
  }
}

/** Whether all bytes in [start, end) are zero. */
export function isZero(file: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (file[at] !== 0) return false;
  return true;
}

/** The header at `offset`, or undefined when there is no intact one for this place. */
export function parseHeader(file: Buffer, place: RecordPlace): RecordHeader | undefined {
  const { sequence, offset } = place;
  if (offset + RECORD_ALIGNMENT > file.length) return undefined;
  if (file.readUInt16LE(offset) !== MAGIC || file.readUInt8(offset + 2) !== VERSION) {
    return undefined;
  }
  const headerCrc = file.readUInt32LE(offset + 28);
  if (headerCrc !== crc32c(file, offset, offset + 28)) return undefined;
  if (file.readUInt32LE(offset + 20) !== sequence) return undefined;
  if (file.readUInt32LE(offset + 24) !== offset) return undefined;
  const type = TYPE_NAMES.get(file.readUInt8(offset + 3));
  const bodyBytes = file.readUInt32LE(offset + 4);
  if (type === undefined || bodyBytes < NONCE_BYTES + TAG_BYTES) return undefined;
  if (offset + framedBytes(bodyBytes) > file.length) return undefined;
  return {
    type,
    bodyBytes,
    keyId: file.readUInt32LE(offset + 8),
    durableOffset: file.readUInt32LE(offset + 12),
    bodyCrc: file.readUInt32LE(offset + 16),
  };
}

/** Whether body and padding are as written. */
export function isBodyIntact(file: Buffer, offset: number, header: RecordHeader): boolean {
  const end = offset + framedBytes(header.bodyBytes);
  return crc32c(file, offset + RECORD_ALIGNMENT, end) === header.bodyCrc;
}

/** Whether a sector of the record never reached the disk of a zero-filled file. */
export function hasMissingSector(file: Buffer, offset: number, header: RecordHeader): boolean {
  const end = offset + framedBytes(header.bodyBytes);
  let start = offset + RECORD_ALIGNMENT;
  while (start < end) {
    const sectorEnd = Math.min(end, (Math.floor(start / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    if (isZero(file, start, sectorEnd)) return true;
    start = sectorEnd;
  }
  return false;
}
