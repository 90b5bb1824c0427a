/**
 * Runs a scenario file in network, mount, UTS and PID namespaces of its own: whatever it starts
 * dies with it, also when it fails.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** How a scenario ended. */
export interface ScenarioResult {
  readonly code: number | null;
  readonly output: string;
}

/** Runs `test/network/scenarios/<name>.js`; its output and exit code. */
export async function runScenario(
  name: string,
  timeoutMs: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<ScenarioResult> {
  const file = fileURLToPath(new URL(`../scenarios/${name}.js`, import.meta.url));
  return await new Promise((resolve, reject) => {
    const child = spawn(
      'unshare',
      [
        ...['--net', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc'],
        // A shell as first process: it reaps orphans, without which no PID namespace inside could end.
        ...['--propagation', 'slave', 'bash', '-c', '"$0" "$1"; exit $?', process.execPath, file],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } },
    );
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    let output = '';
    const collect = (chunk: Buffer) => {
      if (output.length < 1 << 20) output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}
