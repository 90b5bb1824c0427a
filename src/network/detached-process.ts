/**
 * Processes that belong to nobody: they outlive a skepd that is halted, killed or replaced, and the next
 * one takes them over. Without pipes of ours: such a process must not end with us, and nobody would
 * bound what it writes.
 */
import { spawn } from 'node:child_process';

/** A process that was started a moment ago. */
export interface DetachedProcess {
  /** Undefined if it could not be started. */
  readonly pid: number | undefined;
  /** Why it has ended or was not even started; undefined while it runs. */
  ended(): string | undefined;
  /** Ends it at once, unless it has ended. */
  kill(): void;
}

/** Starts one; of our environment it gets PATH, besides the variables given. */
export function startDetached(
  program: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): DetachedProcess {
  const env = { PATH: process.env['PATH'] ?? '', ...variables };
  const child = spawn(program, args, { detached: true, stdio: 'ignore', cwd: '/', env });
  let ended: string | undefined;
  child.on('error', (error) => {
    ended = error.message;
  });
  child.on('exit', (code, signal) => {
    ended = `it ended with ${signal ?? `status ${code ?? 0}`}`;
  });
  child.unref();
  return {
    pid: child.pid,
    ended: () => ended,
    kill: () => {
      if (ended === undefined) child.kill('SIGKILL');
    },
  };
}
