/**
 * Where a stack's files and variables come from: `-c`, `COMPOSE_FILE` or the usual names in the
 * working directory, `.env` beside the first file, the environment.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { SkepError } from '../../model/errors.js';
import { parseDotenv } from '../../stack/dotenv.js';
import type { Lookup } from '../../stack/interpolation.js';
import { loadFiles, readText } from '../../stack/load.js';
import type { ComposeFile } from '../../stack/file-schema.js';
import { Namespace } from '../../stack/namespace.js';
import { Place } from '../../stack/place.js';
import { makeProject, type Project } from '../../stack/project.js';

/** What a person gave on the command line. */
export interface InputOptions {
  readonly composeFile?: readonly string[];
  readonly envFile?: readonly string[];
  readonly profile?: readonly string[];
  readonly projectDirectory?: string;
  readonly keepVariables?: boolean;
}

/** A stack's file as loaded, before it is made ready. */
export interface Input {
  readonly file: ComposeFile;
  readonly warnings: readonly string[];
  readonly makeProject: () => Promise<Project>;
}

const FIRST = ['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml'];
const SECOND = FIRST.map((name) => name.replace(/\.(ya?ml)$/, '.override.$1'));

/** @throws SkepError not_found, invalid_argument */
export async function readInput(options: InputOptions, stack: string | undefined): Promise<Input> {
  const files = await chooseFiles(options);
  const [first = '-'] = files;
  const directory = path.resolve(
    options.projectDirectory ?? (first === '-' ? '.' : path.dirname(first)),
  );
  const variables = await environment(options, directory);
  if (stack !== undefined) variables.set('COMPOSE_PROJECT_NAME', stack);
  const lookup: Lookup = (name) => process.env[name] ?? variables.get(name);
  const profiles = new Set([
    ...(options.profile ?? []),
    ...(lookup('COMPOSE_PROFILES') ?? '').split(',').filter(Boolean),
  ]);
  const keepVariables = options.keepVariables === true;
  const loaded = await loadFiles({ files, directory, lookup, read, keepVariables });
  return { ...loaded, makeProject: () => makeProject(loaded.file, { profiles, lookup, read }) };
}

/** The stack's name: given, or the file's. @throws SkepError invalid_argument */
export function stackName(given: string | undefined, file: ComposeFile): Namespace {
  const name = given ?? process.env['COMPOSE_PROJECT_NAME'] ?? file.name;
  if (name === undefined)
    throw new SkepError('invalid_argument', 'the stack needs a name, given or in the file');
  return new Namespace(name);
}

async function read(file: string): Promise<Uint8Array> {
  return file === '-' ? Buffer.from(await readAll(process.stdin)) : await readFile(file);
}

async function chooseFiles(options: InputOptions): Promise<readonly string[]> {
  const given = options.composeFile ?? [];
  const listed = (process.env['COMPOSE_FILE'] ?? '').split(path.delimiter).filter(Boolean);
  const chosen = given.length > 0 ? given : listed;
  if (chosen.length > 0) return chosen.map((file) => (file === '-' ? file : path.resolve(file)));
  const folder = path.resolve(options.projectDirectory ?? '.');
  const found = [await firstThere(folder, FIRST), await firstThere(folder, SECOND)];
  if (found[0] === undefined)
    throw new SkepError('not_found', `no compose file in ${folder}; give one with -c`);
  return found.filter((file) => file !== undefined);
}

async function firstThere(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const file = path.join(folder, name);
    if (await isThere(file)) return file;
  }
  return undefined;
}

async function isThere(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}

async function environment(options: InputOptions, directory: string): Promise<Map<string, string>> {
  const given = options.envFile ?? [];
  const usual = path.join(directory, '.env');
  const files = given.length > 0 ? given : (await isThere(usual)) ? [usual] : [];
  const variables = new Map<string, string>();
  for (const file of files) {
    const known: Lookup = (name) => process.env[name] ?? variables.get(name);
    const content = await readText(read, path.resolve(file));
    for (const [name, value] of Object.entries(
      parseDotenv(content, known, new Place(file, '', [])),
    ))
      if (value !== null) variables.set(name, value);
  }
  return variables;
}
