/**
 * Credentials of registries from the docker CLI's configuration of this machine (`docker login`): kept
 * in `config.json`, or in a helper that it names, which may make a fresh token each time.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { SkepError } from '../model/errors.js';

/** The registry of images without one, under the name credentials are kept. */
const DOCKER_HUB = 'https://index.docker.io/v1/';
const HELPER_BYTES_MAX = 1 << 20;
const HELPER_TIMEOUT_MS = 30_000;

/** Credentials for a registry, as the Docker API takes them in a header. */
export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly serveraddress?: string;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { auth?: string; identitytoken?: string }>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

/** Credentials for an image's registry; undefined if there are none. */
export async function registryAuthFor(image: string): Promise<RegistryAuth | undefined> {
  const registry = registryOf(image);
  const config = await dockerConfig();
  const helper = config.credHelpers?.[registry] ?? config.credsStore;
  if (helper !== undefined) return askHelper(helper, registry);
  const entries = Object.entries(config.auths ?? {});
  const found = entries.find(([name]) => name === registry || hostOf(name) === hostOf(registry));
  if (found === undefined) return undefined;
  const [, { auth = '', identitytoken }] = found;
  const [username = '', ...password] = Buffer.from(auth, 'base64').toString().split(':');
  return {
    username,
    password: password.join(':').replace(/\0+$/, ''),
    serveraddress: registry,
    ...(identitytoken === undefined ? {} : { identitytoken }),
  };
}

/** The same as the engine's header; empty if there are none. */
export async function registryAuthHeader(image: string): Promise<string> {
  const auth = await registryAuthFor(image);
  if (auth === undefined) return '';
  // With padding: without it an engine takes the header for none.
  const encoded = Buffer.from(JSON.stringify(auth)).toString('base64');
  return encoded.replaceAll('+', '-').replaceAll('/', '_');
}

/** The registry part of an image's name, as credentials know it. */
export function registryOf(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  return isHost && first !== 'docker.io' && first !== 'index.docker.io' ? first : DOCKER_HUB;
}

function hostOf(registry: string): string {
  return registry.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
}

async function dockerConfig(): Promise<DockerConfig> {
  const folder = process.env['DOCKER_CONFIG'] ?? path.join(homedir(), '.docker');
  let text: string;
  try {
    text = await readFile(path.join(folder, 'config.json'), 'utf8');
  } catch {
    return {}; // Nobody has logged in.
  }
  try {
    return JSON.parse(text) as DockerConfig;
  } catch (cause) {
    throw new SkepError('invalid_argument', `${folder}/config.json is not JSON`, { cause });
  }
}

async function askHelper(helper: string, registry: string): Promise<RegistryAuth | undefined> {
  const answer = await new Promise<string>((resolve, reject) => {
    const child = spawn(`docker-credential-${helper}`, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: HELPER_TIMEOUT_MS,
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.length > HELPER_BYTES_MAX) child.kill();
    });
    child.once('error', reject);
    // A helper that knows nothing of the registry ends with an error.
    child.once('close', (code) => resolve(code === 0 ? output : ''));
    child.stdin.on('error', () => undefined);
    child.stdin.end(registry);
  });
  if (answer === '') return undefined;
  let parsed: { Username: string; Secret: string };
  try {
    parsed = JSON.parse(answer) as { Username: string; Secret: string };
  } catch {
    // What it said is not quoted: it may be a secret.
    throw new SkepError('invalid_argument', `docker-credential-${helper} did not answer in JSON`);
  }
  const { Username, Secret } = parsed;
  return Username === '<token>'
    ? { identitytoken: Secret, serveraddress: registry }
    : { username: Username, password: Secret, serveraddress: registry };
}
