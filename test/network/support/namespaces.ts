/**
 * Network namespaces as containers have them: a process in each, reached by a path of our choice.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { must, run } from '../../testbed/commands.js';

/** Whoever cleans up at its end; a test does. */
export interface Owner {
  teardown(work: () => unknown): void;
}

/** Those of one test; they end with it. */
export class Containers {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'skep-namespaces-'));
  private readonly processes = new Map<string, ChildProcess>();

  constructor(private readonly t: Owner) {
    t.teardown(() => rmSync(this.directory, { recursive: true, force: true }));
  }

  pathOf(name: string): string {
    return path.join(this.directory, name);
  }

  /** The namespace of a fresh container appears at the path. */
  async start(name: string): Promise<string> {
    const script = 'ip link set lo up && echo ready && exec sleep 1000';
    const child = spawn('unshare', ['--net', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const file = this.pathOf(name);
    this.t.teardown(async () => {
      child.kill('SIGKILL');
      await run('umount', ['--lazy', file]);
    });
    await once(child.stdout, 'data');
    // As the engine does.
    writeFileSync(file, '');
    await must('mount', ['--bind', `/proc/${child.pid}/ns/net`, file]);
    this.processes.set(name, child);
    return file;
  }

  /** The namespace goes on under another name only. */
  async rename(name: string, other: string): Promise<string> {
    const file = this.pathOf(other);
    writeFileSync(file, '');
    await must('mount', ['--bind', this.pathOf(name), file]);
    this.t.teardown(() => run('umount', ['--lazy', file]));
    await this.forget(name);
    return file;
  }

  /** The container ends, and its path is gone. */
  async end(name: string): Promise<void> {
    const child = this.processes.get(name);
    child?.kill('SIGKILL');
    if (child !== undefined) await once(child, 'exit');
    await this.forget(name);
  }

  private async forget(name: string): Promise<void> {
    await must('umount', ['--lazy', this.pathOf(name)]);
    rmSync(this.pathOf(name));
  }
}

/** Number of addresses of `rr`, or the code of the failure, as a client in the namespace sees it. */
export async function askIn(namespace: string, name = 'rr'): Promise<number | string> {
  const script = `
    const r = new (require('node:dns').promises.Resolver)({ timeout: 500, tries: 1 });
    r.setServers(['127.0.0.11']);
    r.resolve4('${name}').then((a) => console.log(a.length), (e) => console.log(e.code));`;
  const command = [`--net=${namespace}`, process.execPath, '-e', script];
  const { stdout } = await run('nsenter', command);
  return /^\d+$/.test(stdout.trim()) ? Number(stdout) : stdout.trim();
}

/** Packet filter tables in a namespace. */
export async function tablesIn(namespace: string): Promise<string> {
  return (await run('nsenter', [`--net=${namespace}`, 'nft', 'list', 'tables'])).stdout;
}
