/**
 * Asks for a name again and again in a network namespace, until it is told to stop.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { CLIENT_ADDRESS, CLIENT_NAMESPACE } from '../../testbed/layout.js';
import { type Host, mustDocker } from '../../testbed/testbed.js';

/** What was met. */
export interface NameResult {
  readonly asked: number;
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
  /** The different answers, addresses in order. */
  readonly answers: readonly string[];
}

/** What is asked, and how. */
export interface NameQuestions {
  readonly name: string;
  /** A second. */
  readonly rate: number;
  /** At most. */
  readonly seconds: number;
  /** The address is asked by HTTP, too. */
  readonly port?: number;
}

/** Questions that are under way. */
export interface NameLoad {
  /** Ends them and tells what they met. */
  stop(): Promise<NameResult>;
}

/** Arguments of nsenter that lead into a container on a host. */
export async function insideContainer(host: Host, container: string): Promise<readonly string[]> {
  const pid = await mustDocker(host.dockerSocket, ['inspect', '-f', '{{.State.Pid}}', container]);
  // The pid is one of the host's: its namespace is found through the host's /proc.
  return ['-t', String(host.holderPid), '-m', '-p', 'nsenter', '-t', pid, '-n'];
}

/** A name server outside, at {@link CLIENT_ADDRESS}; the result ends it. */
export async function startOutsideNames(): Promise<() => void> {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'outside-names.js');
  const inside = [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, process.execPath];
  const child = spawn('nsenter', [...inside, script, CLIENT_ADDRESS], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return () => child.stdin.end();
}

/** Begins to ask; resolves once it does. */
export async function startNameLoad(
  inside: readonly string[],
  { name, rate, seconds, port }: NameQuestions,
): Promise<NameLoad> {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'name-requester.js');
  const args = [script, name, String(rate), String(seconds)];
  if (port !== undefined) args.push(String(port));
  const child = spawn('nsenter', [...inside, process.execPath, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: (seconds + 60) * 1000,
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  if ((await lines.next()).value !== 'asking') throw new Error(`nobody asks for ${name}`);
  return {
    stop: async () => {
      child.stdin.end();
      const { value } = await lines.next();
      return JSON.parse(String(value)) as NameResult;
    },
  };
}
