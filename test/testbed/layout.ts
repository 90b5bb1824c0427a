/**
 * Where things of the testbed are: names, addresses and paths, all derived from the host number.
 */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Most hosts one testbed can have (addresses .11 to .109). */
export const HOSTS_MAX = 99;

/** Namespace of the outside client, which also carries the underlay bridge. */
export const CLIENT_NAMESPACE = 'under';

/** Address of the outside client on the underlay. */
export const CLIENT_ADDRESS = '192.168.77.1';

/** Its IPv6 address there. */
export const CLIENT_ADDRESS6 = 'fd00:77::1';

/** Name of the underlay bridge inside {@link CLIENT_NAMESPACE}. */
export const UNDERLAY_BRIDGE = 'br-u';

/** Image that answers `/who` on port 80. */
export const WEB_IMAGE = 'skep-test/web:1';

/** Root of all state; `SKEP_TESTBED` overrides it. */
export function testbedRoot(): string {
  return path.resolve(process.env['SKEP_TESTBED'] ?? '/var/tmp/skep-testbed');
}

/** The root of this package: the nearest folder above the compiled file with a package.json. */
export function packageRoot(): string {
  let directory = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(directory, 'package.json'))) {
    const parent = path.dirname(directory);
    if (parent === directory) throw new Error('no package.json above the test files');
    directory = parent;
  }
  return directory;
}

/**
 * The `skep` command of a package. @throws Error if sources were compiled and it was not made anew since: tests
 * would say something about another program.
 */
export function skepProgram(root: string = packageRoot()): string {
  const program = path.join(root, 'dist/skep/main.js');
  const compiled = path.join(root, 'dist/tsconfig.tsbuildinfo');
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(compiled).mtimeMs)
    throw new Error(`${program} is older than the compiled sources: run \`npm run build\``);
  return program;
}

/** Paths and addresses of one host. */
export interface HostLayout {
  /** 1-based number. */
  readonly number: number;
  /** Name of host and network namespace: h1, h2, ... */
  readonly name: string;
  readonly address: string;
  /** Its IPv6 address on the underlay. */
  readonly address6: string;
  readonly directory: string;
  /** The engine's socket. */
  readonly dockerSocket: string;
  /** skepd's Docker API. */
  readonly skepSocket: string;
  /** skepd's state directory. */
  readonly skepState: string;
  /** A bpffs private to the host is mounted here. */
  readonly bpfDirectory: string;
  readonly engineLog: string;
  readonly skepLog: string;
  readonly holderLog: string;
  /** The host's end of its underlay link, seen from the client's namespace. */
  readonly bridgePort: string;
}

/** Layout of host `number` (1 to {@link HOSTS_MAX}). */
export function hostLayout(number: number): HostLayout {
  const name = `h${number}`;
  const directory = path.join(testbedRoot(), name);
  return {
    number,
    name,
    address: `192.168.77.${10 + number}`,
    address6: `fd00:77::${10 + number}`,
    directory,
    dockerSocket: path.join(directory, 'docker.sock'),
    skepSocket: path.join(directory, 'skep.sock'),
    skepState: path.join(directory, 'skep'),
    bpfDirectory: path.join(directory, 'bpf'),
    engineLog: path.join(directory, 'engine.log'),
    skepLog: path.join(directory, 'skepd.log'),
    holderLog: path.join(directory, 'holder.log'),
    bridgePort: `p${number}`,
  };
}
