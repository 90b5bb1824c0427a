/**
 * Stacks on the testbed with the stock docker CLI: the compose files under test/e2e/stacks, and
 * what a removed stack must not leave.
 */
import path from 'node:path';
import { type CommandResult, run } from '../../testbed/commands.js';
import { packageRoot, skepProgram } from '../../testbed/layout.js';
import { type Host, inClient, mustDocker } from '../../testbed/testbed.js';

/** Path of a compose file. */
export function composeFile(name: string): string {
  return path.join(packageRoot(), 'test/e2e/stacks', name);
}

/** `docker stack ...`; relative paths in compose files are relative to the file. */
export async function dockerStack(
  socket: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  const command = ['-H', `unix://${socket}`, 'stack', ...args];
  return await run('/usr/bin/docker', command, { timeoutMs: 60_000, env });
}

/** `skep stack ...` against a host's skepd. */
export async function skepStack(
  socket: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  const skep = skepProgram();
  return await run(process.execPath, [skep, 'stack', ...args], {
    timeoutMs: 120_000,
    env: { ...env, DOCKER_HOST: `unix://${socket}` },
  });
}

/** As {@link dockerStack}, but throws when it fails. */
export async function mustStack(
  socket: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const result = await dockerStack(socket, args, env);
  if (result.code !== 0)
    throw new Error(`docker stack ${args.join(' ')}: ${result.stderr || result.stdout}`);
  return result.stdout;
}

/** What the outside client gets from a URL; undefined when it fails. */
export async function fetchOutside(
  url: string,
  curlArgs: readonly string[] = [],
): Promise<string | undefined> {
  const answer = await inClient(['curl', '-sf', '--max-time', '5', ...curlArgs, url]);
  return answer.code === 0 ? answer.stdout : undefined;
}

/** Everything with the stack's label in the swarm and on the engines, volumes aside; a line each. */
export async function remainsOf(hosts: readonly Host[], stack: string): Promise<readonly string[]> {
  const label = ['--filter', `label=com.docker.stack.namespace=${stack}`];
  const list = async (socket: string, what: string, ...command: readonly string[]) =>
    (await mustDocker(socket, command))
      .split('\n')
      .filter(Boolean)
      .map((line) => `${what} ${line}`);
  const [manager] = hosts;
  if (manager === undefined) return [];
  const lines = [
    await list(manager.skepSocket, 'service', 'service', 'ls', '-q', ...label),
    await list(manager.skepSocket, 'network', 'network', 'ls', '-q', ...label),
    await list(manager.skepSocket, 'secret', 'secret', 'ls', '-q', ...label),
    await list(manager.skepSocket, 'config', 'config', 'ls', '-q', ...label),
  ];
  for (const { name, dockerSocket } of hosts) {
    lines.push(
      await list(dockerSocket, `container on ${name}`, 'ps', '-aq', ...label),
      await list(
        dockerSocket,
        `engine network on ${name}`,
        ...['network', 'ls', '--format', '{{.Name}}', '--filter', `name=${stack}_`],
      ),
    );
  }
  return lines.flat();
}
