/**
 * The image that carries the load generator and nothing else.
 */
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { must } from '../../test/testbed/commands.js';

/** Name of the image with `/load`. */
export const LOAD_IMAGE = 'skep-bench/load:1';

/** Imports the generator at `load` into the engine at `socket`. */
export async function importLoadImage(socket: string, load: string): Promise<void> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-load-'));
  try {
    copyFileSync(load, path.join(directory, 'load'));
    await must('tar', ['-C', directory, '-cf', path.join(directory, 'image.tar'), 'load']);
    await must('/usr/bin/docker', ['-H', `unix://${socket}`, 'import', '-', LOAD_IMAGE], {
      input: readFileSync(path.join(directory, 'image.tar')),
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
