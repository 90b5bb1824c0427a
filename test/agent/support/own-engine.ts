/**
 * A real Docker Engine of a test's own: namespaces, data and sockets under one directory, ended by
 * the process id of its holder. It reaches no network.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import { must, startLogged, waitFor } from '../../testbed/commands.js';
import { importImages } from '../../testbed/images.js';
import {
  childOf,
  insideHost,
  killHolder,
  processStartTicks,
  removeCgroups,
} from '../../testbed/namespaces.js';
import { dockerRequest } from '../../testbed/http.js';

const ROOT = '/var/tmp/skep-agent-test';
const CGROUP_PARENT = '/skep-agent-test';
const HOLDER_SCRIPT = [
  'set -eu',
  'hostname agent-test',
  'ip link set lo up',
  'mkdir -p /run/docker',
  'mount -t tmpfs -o mode=0700 tmpfs /run/docker',
  'sysctl -qw net.ipv4.ip_forward=1',
  'trap : TERM INT HUP',
  'echo ready',
  'while :; do sleep 86400 & wait; done',
].join('\n');

/** One engine; {@link OwnEngine.start} it, and always {@link OwnEngine.destroy} it. */
export class OwnEngine {
  readonly directory = join(ROOT, String(process.pid));
  readonly socket = join(this.directory, 'docker.sock');
  readonly docker = new Docker({ socketPath: this.socket });
  private holder: { readonly pid: number; readonly startTicks: string } | undefined;
  private launcher: number | undefined;

  /** Makes the namespaces, starts the engine, imports the test image. */
  async start(): Promise<void> {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    const log = join(this.directory, 'holder.log');
    const namespaces = ['--net', '--mount', '--uts', '--pid', '--fork', '--kill-child'];
    const args = [...namespaces, '--mount-proc', '--propagation', 'slave'];
    const child = startLogged('unshare', [...args, 'bash', '-c', HOLDER_SCRIPT], log);
    this.launcher = child.pid;
    const pid = await waitFor('namespaces of the engine', 10_000, async () =>
      readFileSync(log, 'utf8').includes('ready') && child.pid !== undefined
        ? childOf(child.pid)
        : undefined,
    );
    this.holder = { pid, startTicks: processStartTicks(pid) ?? '' };
    this.launch();
    await this.answers();
    await importImages(this.socket);
  }

  /** Starts dockerd in the namespaces. */
  launch(): void {
    if (this.holder === undefined) throw new Error('the engine has no namespaces');
    const args = [
      ...insideHost(this.holder.pid),
      'dockerd',
      ...['--data-root', join(this.directory, 'data'), '--exec-root', join(this.directory, 'exec')],
      ...['--pidfile', join(this.directory, 'engine.pid'), '-H', `unix://${this.socket}`],
      ...['--storage-driver', 'overlay2', '--exec-opt', 'native.cgroupdriver=cgroupfs'],
      ...['--cgroup-parent', CGROUP_PARENT, '--label', 'rack=r1', '--shutdown-timeout', '1'],
    ];
    startLogged('nsenter', args, join(this.directory, 'engine.log'));
  }

  /** nsenter arguments that put a command into the engine's network namespace only. */
  networkArgs(): readonly string[] {
    if (this.holder === undefined) throw new Error('the engine has no namespaces');
    return ['-t', String(this.holder.pid), '-n'];
  }

  /** Waits until the engine answers. */
  async answers(): Promise<void> {
    await waitFor('the engine', 60_000, async () => {
      const answer = await dockerRequest(this.socket, 'GET', '/_ping');
      return answer.status === 200 ? true : undefined;
    });
  }

  /** Stops dockerd as an upgrade would, with its containers. */
  async stopDaemon(): Promise<void> {
    if (this.holder === undefined) return;
    const pid = readFileSync(join(this.directory, 'engine.pid'), 'utf8').trim();
    await must('nsenter', [...insideHost(this.holder.pid), 'kill', pid]);
    // The socket goes before the daemon does, which still serves connections that are open.
    await waitFor('the end of the engine', 60_000, async () =>
      existsSync(join(this.directory, 'engine.pid')) ? undefined : true,
    );
  }

  /** Ends everything and removes the directory. */
  async destroy(): Promise<void> {
    if (this.holder !== undefined) await killHolder(this.holder.pid, this.holder.startTicks);
    else if (this.launcher !== undefined) process.kill(this.launcher, 'SIGKILL');
    await removeCgroups(CGROUP_PARENT);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
