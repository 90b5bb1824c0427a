/**
 * Which build of the name server a program is: a digest of the code its process runs. A skepd that finds
 * a process of another build replaces it.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonFile } from '../../native/addon.js';

/** Of the compiled sources; the process imports nothing from elsewhere. */
const SOURCES = fileURLToPath(new URL('../..', import.meta.url));
const DIRECTORIES = ['network', 'network/dns', 'network/dns/process', 'native', 'model', 'observe'];

const PIECE_BYTES = 64 * 1024;

/** Digest of this program as it is on disk. */
export function nameServerBuild(): string {
  const hash = createHash('sha256').update(process.version);
  for (const directory of DIRECTORIES) {
    const full = path.join(SOURCES, directory);
    for (const file of readdirSync(full).sort()) {
      if (!file.endsWith('.js')) continue;
      hash.update(`\0${directory}/${file}\0`).update(readFileSync(path.join(full, file)));
    }
  }
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
