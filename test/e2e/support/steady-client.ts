/** Starts the steady requester as the outside client and steers it. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CLIENT_NAMESPACE } from '../../testbed/layout.js';
import type { LoadResult } from './client-load.js';

/** A client that asks without a pause. */
export interface SteadyClient {
  /** Asks these (`address:port`) from now on; resolves once no request to another is open. */
  use(targets: readonly string[]): Promise<void>;
  /** Ends it. What it met since it was started. */
  stop(): Promise<LoadResult>;
  /** Ends it at once, if it still runs. */
  kill(): void;
}

/** Starts one that asks nobody yet. */
export function steadyClient(rate: number): SteadyClient {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'steady-requester.js');
  const command = [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, process.execPath, script];
  const child = spawn('nsenter', [...command, String(rate)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.on('error', () => undefined); // Its lines end then.
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const say = async (line: string): Promise<string> => {
    child.stdin.write(`${line}\n`);
    const answer = await lines.next();
    if (answer.done === true) throw new Error('the steady client has ended');
    return answer.value;
  };
  return {
    use: async (targets) => void (await say(`use ${targets.join(',')}`)),
    stop: async () => JSON.parse(await say('stop')) as LoadResult,
    kill: () => void child.kill('SIGKILL'),
  };
}
