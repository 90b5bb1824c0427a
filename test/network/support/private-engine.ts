/**
 * A real Docker Engine inside the namespaces of a scenario, with its own roots and a private
 * /run/docker, so that its plugin sockets are nobody else's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, openSync, rmSync } from 'node:fs';
import path from 'node:path';
import Docker from 'dockerode';
import { must, waitFor } from '../../testbed/commands.js';
import { removeCgroups } from '../../testbed/namespaces.js';
import { importImages } from '../../testbed/images.js';

const CGROUP_PARENT = '/skep-network-test';
const START_TIMEOUT_MS = 30_000;

/** Files and control groups of a scenario, once its namespaces (and with them its mounts) are gone. */
export async function removeTraces(root: string): Promise<void> {
  await removeCgroups(CGROUP_PARENT);
  rmSync(root, { recursive: true, force: true });
}

/** The engine of one scenario. */
export class PrivateEngine {
  readonly root: string;
  readonly socket: string;
  readonly docker: Docker;
  private child: ChildProcess | undefined;

  constructor(root: string) {
    this.root = root;
    this.socket = path.join(root, 'docker.sock');
    this.docker = new Docker({ socketPath: this.socket });
  }

  /** Prepares the namespaces: loopback up, private /run/docker. */
  async prepare(): Promise<void> {
    rmSync(this.root, { recursive: true, force: true });
    mkdirSync(this.root, { recursive: true });
    mkdirSync('/run/docker', { recursive: true });
    await must('ip', ['link', 'set', 'lo', 'up']);
    await must('mount', ['-t', 'tmpfs', 'tmpfs', '/run/docker']);
  }

  /** Starts dockerd and waits until it answers. */
  async start(): Promise<void> {
    const log = openSync(path.join(this.root, 'dockerd.log'), 'a');
    this.child = spawn(
      'dockerd',
      [
        ...['--data-root', `${this.root}/data`, '--exec-root', `${this.root}/exec`],
        ...['--pidfile', `${this.root}/pid`, '-H', `unix://${this.socket}`],
        ...['--storage-driver', 'overlay2', '--exec-opt', 'native.cgroupdriver=cgroupfs'],
        ...['--cgroup-parent', CGROUP_PARENT, '--iptables=false', '--bridge=none'],
        '--live-restore',
      ],
      { stdio: ['ignore', log, log] },
    );
    await waitFor('the engine to answer', START_TIMEOUT_MS, async () => {
      await this.docker.ping();
      return true;
    });
  }

  /** Removes every container and ends dockerd; files go with {@link removeTraces}. */
  async cleanUp(): Promise<void> {
    try {
      const containers =
        this.child === undefined ? [] : await this.docker.listContainers({ all: true });
      for (const { Id } of containers) await this.docker.getContainer(Id).remove({ force: true });
    } finally {
      await this.stop();
    }
  }

  /** Ends dockerd and waits for its end. */
  async stop(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGTERM');
    await ended;
  }

  /** Makes the test image known. */
  async importImage(): Promise<void> {
    await importImages(this.socket);
  }
}
