/** Compose files out of strings. */
import type { Lookup } from '../../src/stack/interpolation.js';
import { loadFiles } from '../../src/stack/load.js';
import { Namespace } from '../../src/stack/namespace.js';
import { Place } from '../../src/stack/place.js';
import { makeProject, type Project } from '../../src/stack/project.js';
import { serviceSpec } from '../../src/stack/service-spec.js';
import type { Labels, ServiceSpec } from '../../src/stack/swarm-spec.js';

/** Files by path below `/p`. */
export type Files = Readonly<Record<string, string>>;

/** A place to complain about. */
export function somewhere(): Place {
  return new Place('f', 'x', []);
}

/** Variables. */
export function lookupOf(variables: Readonly<Record<string, string>>): Lookup {
  return (name) => variables[name];
}

function reader(files: Files) {
  return async (file: string): Promise<Uint8Array> => {
    const text = files[file.replace(/^\/p\//, '')];
    if (text === undefined) throw new Error(`no such file: ${file}`);
    return new TextEncoder().encode(text);
  };
}

/** Loads `compose.yml` and `second.yml`, if there is one. */
export async function load(files: Files, variables: Readonly<Record<string, string>> = {}) {
  const names = ['compose.yml', 'second.yml'].filter((name) => name in files);
  return loadFiles({
    files: names.map((name) => `/p/${name}`),
    directory: '/p',
    lookup: lookupOf(variables),
    read: reader(files),
  });
}

/** Loads a project. */
export async function projectOf(
  files: Files,
  variables: Readonly<Record<string, string>> = {},
  profiles: readonly string[] = [],
): Promise<Project> {
  const { file } = await load(files, variables);
  return makeProject(file, {
    profiles: new Set(profiles),
    lookup: lookupOf(variables),
    read: reader(files),
  });
}

/** What the swarm, with these labels of its cluster, is asked for: service `a` of a file with these keys. */
export async function specWith(
  keys: string,
  rest = '',
  image = 'image: i',
  clusterLabels: Labels = {},
): Promise<ServiceSpec> {
  const yaml = `services:\n  a:\n    ${image}\n    ${keys.replaceAll('\n', '\n    ')}\n${rest}`;
  const project = await projectOf({ 'compose.yml': yaml });
  const none = new Map();
  return serviceSpec('a', project.services.get('a') ?? {}, {
    namespace: new Namespace('s'),
    networks: project.networks,
    volumes: project.volumes,
    secrets: none,
    configs: none,
    clusterLabels,
  });
}
