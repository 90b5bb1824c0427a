/**
 * Finds and loads the native addon, once. The classes on it are private to this room: each has a
 * typed wrapper beside this file.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { SkepError } from '../model/errors.js';

const ADDON = 'build/Release/skep.node';

let exportsOfAddon: Readonly<Record<string, unknown>> | undefined;

/** Exports of the addon. @throws SkepError when it has not been built */
export function loadAddon(): Readonly<Record<string, unknown>> {
  exportsOfAddon ??= createRequire(import.meta.url)(addonFile()) as Record<string, unknown>;
  return exportsOfAddon;
}

/**
 * Where the addon is. The compiled sources may lie one or more levels below the package; it is looked for
 * upward. @throws SkepError when it has not been built
 */
export function addonFile(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = path.join(directory, ADDON);
    if (existsSync(file)) return file;
    const parent = path.dirname(directory);
    if (parent === directory) break;
    directory = parent;
  }
  throw new SkepError(
    'failed_precondition',
    `the native addon ${ADDON} is missing: run \`npm run build:native\``,
  );
}
