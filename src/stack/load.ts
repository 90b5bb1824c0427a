/**
 * Compose files to one project: variables, `include`, `extends`, merging, relative paths. Files and
 * variables come in as arguments; nothing here opens a file or a socket.
 */
import path from 'node:path';
import { SkepError } from '../model/errors.js';
import { parseDotenv } from './dotenv.js';
import { type ComposeFile, composeFile, type Include } from './file-schema.js';
import { interpolateFile, type Lookup } from './interpolation.js';
import { FILE_BYTES_MAX, FILES_MAX, INCLUDE_DEPTH_MAX } from './limits.js';
import { merge } from './merge.js';
import { Place } from './place.js';
import type { Service } from './service-schema.js';
import { parseYaml } from './yaml-file.js';

/** Reads a file as bytes. @throws whatever makes it impossible */
export type ReadFile = (file: string) => Promise<Uint8Array>;

/** What is to be loaded. */
export interface LoadRequest {
  /** Compose files, the later over the earlier; absolute paths (or `-` for whatever `read` makes of it). */
  readonly files: readonly string[];
  /** What relative paths are relative to. */
  readonly directory: string;
  readonly lookup: Lookup;
  readonly read: ReadFile;
  /** Whether variables stay as they are (for `config --no-interpolate`). */
  readonly keepVariables?: boolean;
}

/** The files as one, in the long form, with warnings. */
export interface Loaded {
  readonly file: ComposeFile;
  readonly warnings: readonly string[];
}

/** @throws SkepError invalid_argument, not_found */
export async function loadFiles(request: LoadRequest): Promise<Loaded> {
  const warnings: string[] = [];
  const loader = new Loader(request.read, request.keepVariables === true, warnings);
  const file = await loader.load(request.files, request.directory, request.lookup, 0);
  return { file, warnings: [...new Set(warnings)] };
}

/** The content of a text file. @throws SkepError invalid_argument, not_found */
export async function readText(read: ReadFile, file: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await read(file);
  } catch (cause) {
    throw new SkepError('not_found', SkepError.from(cause).message, { cause });
  }
  if (bytes.length > FILE_BYTES_MAX)
    throw new SkepError('invalid_argument', `${file}: larger than ${FILE_BYTES_MAX} bytes`);
  return new TextDecoder().decode(bytes);
}

class Loader {
  #filesLeft = FILES_MAX;

  constructor(
    private readonly read: ReadFile,
    private readonly keepVariables: boolean,
    private readonly warnings: string[],
  ) {}

  /** Files of one directory, merged, with what they include. */
  async load(
    files: readonly string[],
    directory: string,
    lookup: Lookup,
    depth: number,
  ): Promise<ComposeFile> {
    let merged: ComposeFile = {};
    const included: ComposeFile[] = [];
    for (const file of files) {
      const { content, tags } = await this.#open(file, lookup, depth);
      const { include = [], ...own } = content;
      const folder = file === '-' ? directory : path.dirname(file);
      const extended = await this.#extend(own, file, folder, directory, lookup, depth);
      merged = merge(merged, absolute(extended, directory), tags);
      for (const each of include) included.push(await this.#include(each, folder, lookup, depth));
    }
    return included.reduce((sum, each) => importFile(sum, each), merged);
  }

  async #open(file: string, lookup: Lookup, depth: number) {
    const place = new Place(file, '', this.warnings);
    if (depth > INCLUDE_DEPTH_MAX)
      throw place.error('files include or extend each other too deeply');
    if (this.#filesLeft-- === 0) throw place.error(`more than ${FILES_MAX} files`);
    const { values, tags } = parseYaml(await readText(this.read, file), place);
    const filled = this.keepVariables ? values : interpolateFile(values, lookup, place);
    return { content: composeFile(filled, place), tags };
  }

  async #include(include: Include, folder: string, lookup: Lookup, depth: number) {
    const files = include.path.map((each) => path.resolve(folder, each));
    const [first = ''] = files;
    const directory = path.resolve(folder, include.project_directory ?? path.dirname(first));
    const own = new Map<string, string>();
    for (const each of include.env_file ?? []) {
      const file = path.resolve(folder, each);
      const place = new Place(file, '', this.warnings);
      const variables = parseDotenv(await readText(this.read, file), lookup, place);
      for (const [name, value] of Object.entries(variables))
        if (value !== null) own.set(name, value);
    }
    const both: Lookup = (name) => lookup(name) ?? own.get(name);
    const { name: _name, ...content } = await this.load(files, directory, both, depth + 1);
    return content;
  }

  /** The services of a file with what they extend. */
  async #extend(
    file: ComposeFile,
    name: string,
    folder: string,
    directory: string,
    lookup: Lookup,
    depth: number,
  ): Promise<ComposeFile> {
    if (file.services === undefined) return file;
    const services: Record<string, Service> = {};
    for (const key of Object.keys(file.services)) {
      const where = { file, name, folder, directory };
      services[key] = await this.#extended(key, where, lookup, depth, []);
    }
    return { ...file, services };
  }

  async #extended(
    key: string,
    where: FileInPlace,
    lookup: Lookup,
    depth: number,
    above: readonly string[],
  ): Promise<Service> {
    const place = new Place(where.name, `services.${key}`, this.warnings);
    const found = where.file.services?.[key];
    if (found === undefined) throw place.error('no such service');
    const { extends: base, ...own } = found;
    if (base === undefined) return own;
    const step = `${where.name} ${key}`;
    if (above.includes(step)) throw place.error('extends itself');
    let source = where;
    if (base.file !== undefined) {
      const name = path.resolve(where.folder, base.file);
      const { content } = await this.#open(name, lookup, depth + 1);
      const folder = path.dirname(name);
      source = { file: content, name, folder, directory: folder };
    }
    const steps = [...above, step];
    const service = await this.#extended(base.service, source, lookup, depth + 1, steps);
    const { depends_on: _theirs, ...inherited } =
      source === where ? service : absoluteService(service, source.directory);
    return merge<Service>(source === where ? service : inherited, own);
  }
}

interface FileInPlace {
  readonly file: ComposeFile;
  readonly name: string;
  readonly folder: string;
  readonly directory: string;
}

const SECTIONS = ['services', 'networks', 'volumes', 'secrets', 'configs'] as const;

/** Adds what an included file declares. @throws SkepError invalid_argument if it is there and differs */
function importFile(file: ComposeFile, included: ComposeFile): ComposeFile {
  for (const section of SECTIONS)
    for (const [name, value] of Object.entries(included[section] ?? {})) {
      const own = file[section]?.[name];
      if (own !== undefined && JSON.stringify(own) !== JSON.stringify(value))
        throw new SkepError(
          'invalid_argument',
          `${section}.${name} conflicts with imported resource`,
        );
    }
  return merge(file, included);
}

/** A file whose relative paths have been made absolute. */
function absolute(file: ComposeFile, directory: string): ComposeFile {
  const inSection = <T>(values: Readonly<Record<string, T>> | undefined, fix: (value: T) => T) =>
    values === undefined
      ? undefined
      : Object.fromEntries(Object.entries(values).map(([key, value]) => [key, fix(value)]));
  const withFile = <T extends { readonly file?: string }>(object: T): T =>
    object.file === undefined ? object : { ...object, file: path.resolve(directory, object.file) };
  return {
    ...file,
    ...present(
      'services',
      inSection(file.services, (each) => absoluteService(each, directory)),
    ),
    ...present('secrets', inSection(file.secrets, withFile)),
    ...present('configs', inSection(file.configs, withFile)),
  };
}

function absoluteService(service: Service, directory: string): Service {
  const { volumes, env_file: envFiles } = service;
  return {
    ...service,
    ...present(
      'volumes',
      volumes?.map((volume) =>
        volume.type === 'bind' && volume.source !== undefined && !/^[~$]/.test(volume.source)
          ? { ...volume, source: path.resolve(directory, volume.source) }
          : volume,
      ),
    ),
    ...present(
      'env_file',
      envFiles?.map((each) => ({ ...each, path: path.resolve(directory, each.path) })),
    ),
  };
}

/** `{key: value}`, or nothing for undefined. */
function present<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [P in K]?: T });
}
