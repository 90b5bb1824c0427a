/**
 * Starts the client that holds connections (connections.ts) in the outside client's namespace, and
 * collects what it met.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CLIENT_NAMESPACE } from '../../testbed/layout.js';
import type { ConnectionResult } from './connections.js';

const READY_LIMIT_MS = 30_000;

/** Connections under way. */
export class HeldConnections {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #output = '';

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
  }

  /**
   * Holds `held` connections to `heldTargets` and opens `rate` a second to `freshTargets`; resolves
   * once all that are held have been answered.
   */
  static async start(options: {
    readonly heldTargets: readonly string[];
    readonly held: number;
    readonly freshTargets: readonly string[];
    readonly rate: number;
  }): Promise<HeldConnections> {
    const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'connections.js');
    const { heldTargets, held, freshTargets, rate } = options;
    const child = spawn(
      'nsenter',
      [
        ...[`--net=/var/run/netns/${CLIENT_NAMESPACE}`, process.execPath, script],
        ...[heldTargets.join(','), String(held), freshTargets.join(','), String(rate)],
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const connections = new HeldConnections(child);
    await connections.#ready();
    return connections;
  }

  /** Ends the client; what it met. */
  async finish(): Promise<ConnectionResult> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    await closed;
    const line = this.#output.trim().split('\n').at(-1) ?? '';
    return JSON.parse(line) as ConnectionResult;
  }

  /** Ends the client without asking for a result. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async #ready(): Promise<void> {
    const child = this.#child;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error('the connections were not answered'));
      }, READY_LIMIT_MS);
      child.on('error', reject);
      child.on('close', () => reject(new Error('the client ended before its time')));
      child.stdout.on('data', () => {
        if (!this.#output.includes('ready')) return;
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
