/**
 * A loaded compose file made ready to deploy: services of the active profiles, environments filled
 * in, everything that services refer to declared, contents of secrets and configs read.
 */
import { SkepError } from '../model/errors.js';
import { dependencyOrder } from './dependency-order.js';
import { parseDotenv, parseRaw, type Variables } from './dotenv.js';
import type { ComposeFile, FileObject, Network, Volume } from './file-schema.js';
import type { Lookup } from './interpolation.js';
import { type ReadFile, readText } from './load.js';
import { Place } from './place.js';
import type { Service } from './service-schema.js';
import type { ServiceVolume } from './service-volumes.js';

/** A secret or config with what is to be in it; external ones have nothing. */
export interface StackObject extends FileObject {
  readonly data?: Uint8Array;
}

/** Everything of a stack, by the keys of the file. */
export interface Project {
  readonly services: ReadonlyMap<string, Service>;
  readonly networks: ReadonlyMap<string, Network>;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly secrets: ReadonlyMap<string, StackObject>;
  readonly configs: ReadonlyMap<string, StackObject>;
}

/** What {@link makeProject} needs beside the file. */
export interface ProjectRequest {
  readonly profiles: ReadonlySet<string>;
  readonly lookup: Lookup;
  readonly read: ReadFile;
}

/** @throws SkepError invalid_argument, not_found */
export async function makeProject(
  file: ComposeFile,
  { profiles, lookup, read }: ProjectRequest,
): Promise<Project> {
  const chosen = Object.entries(file.services ?? {}).filter(
    ([, { profiles: own = [] }]) =>
      own.length === 0 || profiles.has('*') || own.some((name) => profiles.has(name)),
  );
  const services = new Map<string, Service>();
  for (const [name, service] of chosen) {
    const environment = await environmentOf(service, lookup, read);
    const { env_file: _files, tmpfs = [], volumes = [], ...rest } = service;
    const mounts = [...volumes, ...tmpfs].map((volume) => atHome(volume, lookup));
    services.set(name, {
      ...rest,
      ...(Object.keys(environment).length === 0 ? {} : { environment }),
      ...(mounts.length === 0 ? {} : { volumes: mounts }),
    });
  }
  const project: Project = {
    services,
    networks: new Map(Object.entries(file.networks ?? {})),
    volumes: new Map(Object.entries(file.volumes ?? {})),
    secrets: await objectsOf('secret', file.secrets, lookup, read),
    configs: await objectsOf('config', file.configs, lookup, read),
  };
  for (const [name, service] of services) checkService(name, service, project);
  dependencyOrder(services);
  return project;
}

function refuse(text: string): never {
  throw new SkepError('invalid_argument', text);
}

function atHome(volume: ServiceVolume, lookup: Lookup): ServiceVolume {
  const home = lookup('HOME');
  return volume.type === 'bind' && volume.source?.startsWith('~') === true && home !== undefined
    ? { ...volume, source: volume.source.replace('~', home) }
    : volume;
}

async function environmentOf(
  service: Service,
  lookup: Lookup,
  read: ReadFile,
): Promise<Readonly<Record<string, string | null>>> {
  const all: Record<string, string | null> = {};
  for (const { path, required = true, format } of service.env_file ?? []) {
    let variables: Variables;
    try {
      const text = await readText(read, path);
      const place = new Place(path, '', []);
      variables = format === 'raw' ? parseRaw(text) : parseDotenv(text, lookup, place);
    } catch (error) {
      if (!required && SkepError.from(error).code === 'not_found') continue;
      throw error;
    }
    for (const [name, value] of Object.entries(variables)) {
      // A name alone takes the value from the environment; without one there it says nothing.
      const found = value ?? lookup(name);
      if (found !== undefined) all[name] = found;
    }
  }
  for (const [name, value] of Object.entries(service.environment ?? {}))
    all[name] = value ?? lookup(name) ?? null;
  return all;
}

async function objectsOf(
  kind: 'secret' | 'config',
  objects: Readonly<Record<string, FileObject>> = {},
  lookup: Lookup,
  read: ReadFile,
): Promise<ReadonlyMap<string, StackObject>> {
  const result = new Map<string, StackObject>();
  for (const [name, object] of Object.entries(objects)) {
    const sources = ['file', 'environment', 'content', 'driver'] as const;
    const given = sources.filter((source) => object[source] !== undefined);
    if (object.external === true) {
      if (given.length > 0)
        refuse(`${kind} ${name}: conflicting parameters "external" and "${given[0]}"`);
      result.set(name, object);
      continue;
    }
    if (given.length !== 1)
      refuse(
        `${kind} ${name}: one of ${sources.join(', ')} must be given${given.length > 1 ? ', not more' : ''}`,
      );
    const data = await contentOf(kind, name, object, lookup, read);
    result.set(name, data === undefined ? object : { ...object, data });
  }
  return result;
}

async function contentOf(
  kind: string,
  name: string,
  object: FileObject,
  lookup: Lookup,
  read: ReadFile,
): Promise<Uint8Array | undefined> {
  if (object.file !== undefined) {
    try {
      return await read(object.file);
    } catch (cause) {
      throw new SkepError('not_found', SkepError.from(cause).message, { cause });
    }
  }
  if (object.content !== undefined) return new TextEncoder().encode(object.content);
  if (object.environment === undefined) return undefined;
  const value = lookup(object.environment);
  if (value === undefined) refuse(`${kind} ${name}: the variable ${object.environment} is not set`);
  return new TextEncoder().encode(value);
}

function checkService(name: string, service: Service, project: Project): void {
  const here = `service ${name}`;
  for (const network of Object.keys(service.networks ?? {}))
    if (network !== 'default' && !project.networks.has(network))
      refuse(`${here}: undefined network "${network}"`);
  for (const { source } of service.secrets ?? [])
    if (!project.secrets.has(source)) refuse(`${here}: undefined secret "${source}"`);
  for (const { source } of service.configs ?? [])
    if (!project.configs.has(source)) refuse(`${here}: undefined config "${source}"`);
  for (const { type, source } of service.volumes ?? [])
    if (type === 'volume' && source !== undefined && !project.volumes.has(source))
      refuse(`${here}: undefined volume "${source}"`);
  for (const [other, { required = true }] of Object.entries(service.depends_on ?? {}))
    if (required && !project.services.has(other))
      refuse(`${here} depends on undefined service "${other}"`);
}
