/**
 * Starts the requester as the outside client and collects its result.
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CLIENT_NAMESPACE } from '../../testbed/layout.js';

/** What a load run met. */
export interface LoadResult {
  readonly sent: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
}

/** Asks `targets` (`address:port`) in turn, `rate` times a second for `seconds`. */
export async function clientLoad(
  targets: readonly string[],
  rate: number,
  seconds: number,
): Promise<LoadResult> {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'requester.js');
  return await new Promise((resolve, reject) => {
    const child = spawn(
      'nsenter',
      [
        `--net=/var/run/netns/${CLIENT_NAMESPACE}`,
        ...[process.execPath, script, targets.join(','), String(rate), String(seconds)],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], timeout: (seconds + 60) * 1000 },
    );
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) reject(new Error(`the requester ended with code ${code}: ${output}`));
      else resolve(JSON.parse(output) as LoadResult);
    });
  });
}
