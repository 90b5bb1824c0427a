/** Runs the stock docker CLIs, and makes what they print comparable between two swarms. */
import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { skepProgram } from '../../testbed/layout.js';

/** The CLIs to test with, oldest first. */
const CLI_PATHS = ['/usr/bin/docker', '/usr/local/bin/docker'];
/** No configuration: no plugins, credentials or contexts. */
const CONFIG_FOLDER = '/nonexistent/docker-config';

/** The CLIs that are installed here. */
export async function installedClis(): Promise<readonly string[]> {
  const found = await Promise.all(
    CLI_PATHS.map((cli) =>
      access(cli).then(
        () => cli,
        () => undefined,
      ),
    ),
  );
  return found.filter((cli) => cli !== undefined);
}

/** What a command printed and how it ended. */
export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `docker ARGS` against a socket. @param input standard input; closed at once if not given */
export function runCli(
  cli: string,
  socketPath: string,
  args: readonly string[],
  input = '',
  environment: Readonly<Record<string, string>> = { DOCKER_BUILDKIT: '0' },
): Promise<CliResult> {
  const all = ['--config', CONFIG_FOLDER, '-H', `unix://${socketPath}`, ...args];
  return runProgram(cli, all, input, environment);
}

/** Runs `skep ARGS` with a socket as its Docker host. */
export function runSkep(
  socketPath: string,
  args: readonly string[],
  input = '',
  environment: Readonly<Record<string, string>> = {},
): Promise<CliResult> {
  const skep = skepProgram();
  return runProgram(process.execPath, [skep, ...args], input, {
    DOCKER_HOST: `unix://${socketPath}`,
    DOCKER_CONFIG: CONFIG_FOLDER,
    ...environment,
  });
}

function runProgram(
  program: string,
  args: readonly string[],
  input: string,
  environment: Readonly<Record<string, string>>,
): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: 'pipe',
      env: { ...process.env, ...environment },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
    // A command may end without reading all of its input.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

/** Splits a command line at spaces; single quotes hold words together. */
export function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
}

/** Replaces what must differ between two swarms: ids, times, tokens, host names, socket paths. */
export function comparable(text: string): string {
  return (
    text
      .replaceAll(/unix:\/\/\S+\.sock/g, 'SOCKET')
      .replaceAll(/SWMTKN-1-[0-9a-z-]+/g, 'TOKEN')
      .replaceAll(/\b[0-9a-f]{64}\b/g, 'HEXID')
      .replaceAll(/\b[0-9a-z]{25}\b/g, 'ID')
      .replaceAll(/\b[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z\b/g, 'TIME')
      .replaceAll(/\b[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+ \+0000 utc\b/g, 'TIME')
      .replaceAll(/"Index":( ?)[0-9]+/g, '"Index":$1N')
      .replaceAll(/(?:About|Less than)? ?(?:an?|[0-9]+) (?:second|minute)s? ago/g, ' AGO')
      .replaceAll(/^([0-9a-z]{12})(?= )/gm, 'SHORTID     ')
      // The stock data path's own bridge.
      .replaceAll(/^.*docker_gwbridge.*\n/gm, '')
      // Widths of columns depend on how long ago something was.
      .replaceAll(/ {3,}/g, '   ')
  );
}
