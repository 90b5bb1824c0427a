/**
 * Files that are either the old or the new version after a crash: written beside their place, synced,
 * renamed, and the directory synced.
 */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Writes and syncs `path` in place; for temporary files whose name nobody relies on. */
export async function writeDurably(path: string, data: string, mode: number): Promise<void> {
  const file = await open(path, 'w', mode);
  try {
    // The mode of `open` is subject to the umask and does not touch an old file.
    await file.chmod(mode);
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Renames and makes the new name durable. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  const directory = await open(dirname(to), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Replaces `path` with `data`. */
export async function replaceFile(path: string, data: string, mode: number): Promise<void> {
  const temporary = `${path}.tmp`;
  await writeDurably(temporary, data, mode);
  await renameDurably(temporary, path);
}
