/**
 * The managers a node knows, on disk (`state.json`, in SwarmKit's shape), so that a restarted node
 * finds the swarm also when the manager it joined through is gone. A list from yesterday is as good
 * as it gets: whatever is damaged counts as nothing known.
 */
import { readFileSync } from 'node:fs';
import type { Logger } from '../observe/logger.js';
import { replaceFile } from '../rpc/identity/atomic-file.js';
import type { ManagerPeer } from '../rpc/types.js';

const FILE_MODE = 0o600;
/** More managers than any swarm has. */
const PEERS_MAX = 100;

/** See the file's head. */
export class KnownManagers {
  readonly #file: string;
  readonly #logger: Logger;
  #written = '';
  #writing: Promise<void> = Promise.resolve();

  constructor(file: string, logger: Logger) {
    this.#file = file;
    this.#logger = logger;
  }

  /** What was known when the node ran last. */
  read(): readonly ManagerPeer[] {
    try {
      this.#written = readFileSync(this.#file, 'utf8');
      const list: unknown = JSON.parse(this.#written);
      if (!Array.isArray(list)) return [];
      return list.slice(0, PEERS_MAX).flatMap((entry: unknown) => {
        const { node_id: nodeId, addr } = entry as Record<string, unknown>;
        return typeof nodeId === 'string' && typeof addr === 'string' ? [{ nodeId, addr }] : [];
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#logger.warn({ error: String(error) }, 'the list of known managers is not readable');
      }
      return [];
    }
  }

  /** Notes the managers of a session message; a failure is logged, the next message tries again. */
  note(peers: readonly ManagerPeer[]): void {
    const sorted = [...peers].sort((a, b) => (a.addr < b.addr ? -1 : 1)).slice(0, PEERS_MAX);
    const text = JSON.stringify(sorted.map(({ nodeId, addr }) => ({ node_id: nodeId, addr })));
    if (text === this.#written) return;
    this.#written = text;
    this.#writing = this.#writing.then(async () => {
      try {
        await replaceFile(this.#file, text, FILE_MODE);
      } catch (error) {
        this.#written = '';
        this.#logger.warn({ error: String(error) }, 'the known managers could not be stored');
      }
    });
  }

  /** Resolves once nothing is being written. */
  async idle(): Promise<void> {
    await this.#writing;
  }
}
