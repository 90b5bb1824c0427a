/**
 * Reading a segment, and judging how it ends. The last segment may end in a write that a crash or
 * a power cut tore: that part was never acknowledged and is cut off. Everything else unreadable is
 * damage, and the log is refused: going on without acknowledged entries would split the cluster.
 */
import { SkepError } from '../../model/errors.js';
import {
  framedBytes,
  hasMissingSector,
  isBodyIntact,
  isZero,
  parseHeader,
  type PlainRecord,
  RECORD_ALIGNMENT,
  type RecordCipher,
} from './record.js';

/** What a segment holds. */
export interface SegmentContent {
  readonly records: readonly PlainRecord[];
  /** Where the next record goes. */
  readonly endOffset: number;
  /** Whether the segment was closed, and the log goes on in another one. */
  readonly isClosed: boolean;
  /** Whether something of a torn write lies behind the end and must be cleared. */
  readonly isTorn: boolean;
}

/** Said along with every refusal of a damaged log. */
export const DAMAGE_ADVICE =
  'restore the state directory from a backup, or, if other managers are up, remove this manager ' +
  'there (docker node demote, docker node rm --force), delete its state directory and join again';

/** The error of a damaged file. */
export function damaged(file: string, what: string): SkepError {
  return new SkepError('data_loss', `raft log: ${file} is damaged: ${what}; ${DAMAGE_ADVICE}`);
}

/**
 * Reads all records of a segment.
 * @param isLast whether no later segment exists; only then may the end be torn.
 * @throws SkepError data_loss on damage; permission_denied with the wrong key.
 */
export function readSegment(
  file: Buffer,
  name: string,
  sequence: number,
  cipher: RecordCipher,
  isLast: boolean,
): SegmentContent {
  const records: PlainRecord[] = [];
  let offset = 0;
  while (offset + RECORD_ALIGNMENT <= file.length) {
    if (isZero(file, offset, offset + RECORD_ALIGNMENT)) break;
    const header = parseHeader(file, { sequence, offset });
    // A header lies within one sector: it is either written or not, and never torn.
    if (header === undefined) throw damaged(name, `no valid record at byte ${offset}`);
    if (!isBodyIntact(file, offset, header)) {
      if (hasMissingSector(file, offset, header)) break;
      throw damaged(name, `checksum mismatch in the record at byte ${offset}`);
    }
    const record = cipher.open(file, offset, header);
    offset += framedBytes(header.bodyBytes);
    if (record.type === 'segmentEnd') {
      return { records, endOffset: offset, isClosed: true, isTorn: false };
    }
    records.push(record);
  }
  if (!isLast) throw damaged(name, `it ends at byte ${offset}, but a later segment exists`);
  const witness = findWitness(file, sequence, offset);
  if (witness !== undefined) {
    throw damaged(name, `the record at byte ${offset} is lost, the one at ${witness} is there`);
  }
  return {
    records,
    endOffset: offset,
    isClosed: false,
    isTorn: !isZero(file, offset, file.length),
  };
}

/** Offset of a record that was written after what should be at `lostOffset` was durable. */
function findWitness(file: Buffer, sequence: number, lostOffset: number): number | undefined {
  let offset = lostOffset + RECORD_ALIGNMENT;
  for (; offset + RECORD_ALIGNMENT <= file.length; offset += RECORD_ALIGNMENT) {
    const header = parseHeader(file, { sequence, offset });
    if (header !== undefined && header.durableOffset > lostOffset) return offset;
  }
  return undefined;
}
