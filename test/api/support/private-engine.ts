/**
 * A real Docker Engine for tests: in its own network, mount and host-name namespaces, with its own
 * data under a temporary folder. It ends with the test process, however that ends.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, open, rm, symlink, mkdir, copyFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
/** Address of the engine's only outside interface. */
export const ENGINE_ADDRESS = '192.168.99.2';
/** Image of a static busybox, imported into every engine. */
export const IMAGE = 'skep-api-test/busybox:1';

/** True where engines can run: root, dockerd and busybox at hand. */
export async function canRunEngines(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  try {
    await access('/usr/sbin/dockerd');
    await access('/bin/busybox');
    return true;
  } catch {
    return false;
  }
}

/** One engine. */
export class PrivateEngine {
  readonly folder: string;
  readonly socketPath: string;
  private readonly process: ChildProcess;

  private constructor(folder: string, child: ChildProcess) {
    this.folder = folder;
    this.socketPath = path.join(folder, 'docker.sock');
    this.process = child;
  }

  /** Starts an engine that calls itself `hostname` and has {@link IMAGE}. */
  static async start(hostname: string): Promise<PrivateEngine> {
    const folder = await mkdtemp(path.join(tmpdir(), 'skep-api-'));
    const log = await open(path.join(folder, 'log'), 'a');
    const script = `
      set -e
      hostname ${hostname}
      ip link set lo up
      ip link add eth0 type veth peer name eth1
      ip addr add ${ENGINE_ADDRESS}/24 dev eth0
      ip link set eth1 up; ip link set eth0 up
      mkdir -p /run/docker; mount -t tmpfs tmpfs /run/docker
      exec dockerd --data-root ${folder}/data --exec-root ${folder}/exec \
        --pidfile ${folder}/pid -H unix://${folder}/docker.sock --storage-driver overlay2`;
    const child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'TERM', 'unshare', '-n', '-m', '-u', '--propagation', 'slave'],
        ...['bash', '-c', script],
      ],
      { stdio: ['ignore', log.fd, log.fd] },
    );
    await log.close();
    const engine = new PrivateEngine(folder, child);
    try {
      await engine.untilReady();
      await engine.importImage();
    } catch (error) {
      await engine.stop();
      throw error;
    }
    return engine;
  }

  /** Ends the engine and removes its data. */
  async stop(): Promise<void> {
    const child = this.process;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  private async untilReady(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await answers(this.socketPath))) {
      if (this.process.exitCode !== null || performance.now() > deadline) {
        throw new Error(`the engine in ${this.folder} does not start; see its log`);
      }
      await sleep(50);
    }
  }

  private async importImage(): Promise<void> {
    const root = path.join(this.folder, 'root');
    await mkdir(path.join(root, 'bin'), { recursive: true });
    await mkdir(path.join(root, 'tmp'));
    await copyFile('/bin/busybox', path.join(root, 'bin/busybox'));
    for (const name of ['sh', 'cat', 'echo', 'sleep', 'true', 'false', 'wc', 'ls', 'seq']) {
      await symlink('busybox', path.join(root, 'bin', name));
    }
    const archive = path.join(this.folder, 'image.tar');
    await run('tar', ['-C', root, '-cf', archive, '.']);
    const env = { ...process.env, DOCKER_HOST: `unix://${this.socketPath}` };
    await run('/usr/bin/docker', ['import', archive, IMAGE], { env });
  }
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.once('error', () => resolve(false));
    ping.end();
  });
}
