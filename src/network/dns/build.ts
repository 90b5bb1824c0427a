/**
 * Which build of the name server a program is: a digest of the code its process runs. A skepd that finds
 * a process of another build replaces it.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { addonFile } from '../../native/addon.js';

const PIECE_BYTES = 64 * 1024;

/** Digest of a program whose file holds all it imports, of its Node and of its addon, as they are on disk. */
export function nameServerBuild(program: string): string {
  const hash = createHash('sha256').update(process.version).update(readFileSync(program));
  const addon = openSync(addonFile(), 'r');
  try {
    // Piece by piece: the process is to stay small.
    const piece = Buffer.alloc(PIECE_BYTES);
    for (;;) {
      const read = readSync(addon, piece);
      if (read === 0) break;
      hash.update(piece.subarray(0, read));
    }
  } finally {
    closeSync(addon);
  }
  return hash.digest('hex').slice(0, 32);
}
