/**
 * Where a plugin listens, as the Docker Engine looks for it (moby pkg/plugins): a socket
 * `/run/docker/plugins/NAME.sock`, an address in `NAME.spec` or `NAME.json` under /etc/docker/plugins
 * or /usr/lib/docker/plugins, or a plugin that the engine runs itself (`docker plugin install`).
 */
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { SkepError } from '../../model/errors.js';

/** How to reach a plugin. */
export type PluginEndpoint =
  | { readonly kind: 'unix'; readonly socketPath: string }
  | {
      readonly kind: 'tcp';
      readonly host: string;
      readonly port: number;
      /** Absent: without TLS. */
      readonly tls?: PluginTls;
    };

/** PEM texts of a plugin's TLS settings. */
export interface PluginTls {
  readonly isChecked: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** A plugin that the engine runs. */
export interface ManagedPlugin {
  readonly id: string;
  readonly isEnabled: boolean;
  /** Such as `docker.secretprovider/1.0`. */
  readonly types: readonly string[];
  /** File name of its socket. */
  readonly socket: string;
}

/** Where to look. */
export interface PluginPlaces {
  /** Directory of sockets; also of those of managed plugins, by id. */
  readonly sockets: string;
  readonly specs: readonly string[];
  /** What the engine says of a plugin; undefined if it does not know it. */
  readonly managed: (name: string) => Promise<ManagedPlugin | undefined>;
}

/** The places of a stock engine. */
export const ENGINE_PLUGIN_PLACES = {
  sockets: '/run/docker/plugins',
  specs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
} as const;

const SPEC_BYTES_MAX = 64 << 10;

/** @throws SkepError not_found `plugin "NAME" not found`, failed_precondition if it is switched off */
export async function findPlugin(
  name: string,
  capability: string,
  places: PluginPlaces,
): Promise<PluginEndpoint> {
  const managed = await places.managed(name);
  if (managed !== undefined) {
    if (!managed.types.some((type) => type.startsWith(`docker.${capability}/`)))
      throw new SkepError('failed_precondition', `plugin ${name} does not implement ${capability}`);
    if (!managed.isEnabled)
      throw new SkepError('failed_precondition', `plugin ${name} found but disabled`);
    const socketPath = path.join(places.sockets, managed.id, path.basename(managed.socket));
    return { kind: 'unix', socketPath };
  }
  // The name becomes part of paths.
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    for (const file of [`${name}.sock`, `${name}/${name}.sock`]) {
      const socketPath = path.join(places.sockets, file);
      if (await isSocket(socketPath)) return { kind: 'unix', socketPath };
    }
    for (const folder of places.specs)
      for (const file of [
        `${name}.spec`,
        `${name}.json`,
        `${name}/${name}.spec`,
        `${name}/${name}.json`,
      ]) {
        const text = await readSmall(path.join(folder, file));
        if (text === undefined) continue;
        return file.endsWith('.spec') ? endpointOf(text.trim()) : await fromJson(text);
      }
  }
  throw new SkepError('not_found', `plugin "${name}" not found`);
}

async function isSocket(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isSocket(),
    () => false,
  );
}

async function readSmall(file: string): Promise<string | undefined> {
  try {
    const { size } = await stat(file);
    if (size > SPEC_BYTES_MAX) throw new SkepError('invalid_argument', `${file} is too large`);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof SkepError) throw error;
    return undefined; // Not here.
  }
}

function endpointOf(address: string, tls?: PluginTls): PluginEndpoint {
  if (address.startsWith('unix://'))
    return { kind: 'unix', socketPath: address.slice('unix://'.length) };
  const match = /^(?:tcp|https?):\/\/(\[[0-9a-fA-F:]+\]|[^:/]+):(\d+)\/?$/.exec(address);
  if (match === null)
    throw new SkepError('invalid_argument', `bad address of a plugin: ${address}`);
  const host = (match[1] ?? '').replace(/^\[(.*)\]$/, '$1');
  return { kind: 'tcp', host, port: Number(match[2]), ...(tls === undefined ? {} : { tls }) };
}

interface JsonSpec {
  readonly Addr?: string;
  readonly TLSConfig?: {
    readonly InsecureSkipVerify?: boolean;
    readonly CAFile?: string;
    readonly CertFile?: string;
    readonly KeyFile?: string;
  };
}

async function fromJson(text: string): Promise<PluginEndpoint> {
  let spec: JsonSpec;
  try {
    spec = JSON.parse(text) as JsonSpec;
  } catch (cause) {
    throw new SkepError('invalid_argument', 'the description of the plugin is not JSON', { cause });
  }
  const { Addr: address = '', TLSConfig: config } = spec;
  if (config === undefined) return endpointOf(address);
  const { CAFile, CertFile, KeyFile, InsecureSkipVerify } = config;
  const [ca, cert, key] = await Promise.all(
    [CAFile, CertFile, KeyFile].map(async (file) => {
      if (file === undefined || file === '') return undefined;
      const pem = await readSmall(file);
      if (pem === undefined) throw new SkepError('not_found', `${file} cannot be read`);
      return pem;
    }),
  );
  return endpointOf(address, {
    isChecked: InsecureSkipVerify !== true,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}
