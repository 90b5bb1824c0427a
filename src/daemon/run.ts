/**
 * Runs skepd until it is told to stop: checks the host, builds the daemon, and turns signals into a
 * clean end. Containers and packets go on after the end, whatever its reason.
 */
import { readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { SkepError } from '../model/errors.js';
import { createLogger, type Logger } from '../observe/logger.js';
import { Daemon } from './daemon.js';
import { type DaemonOptions, statePaths } from './options.js';
import { activationSocket } from './socket-activation.js';

/** Longest clean stop; after it the process ends anyway. */
const STOP_TIMEOUT_MS = 15_000;

/** Runs the daemon; resolves with the exit code. */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const logger = createLogger({ level: options.logLevel });
  dieLoudly(logger);
  const lock = statePaths(options.stateDir).lock;
  const stopped = waitForSignal(logger);
  let daemon: Daemon | undefined;
  try {
    takeLock(options.stateDir, lock);
    const passedSocket = activationSocket(process.env, options.apiSocket);
    daemon = await Daemon.start(options, logger, passedSocket);
    logger.info({ apiSocket: options.apiSocket }, 'skepd is ready');
    await stopped;
    await withTimeout(daemon.stop(), STOP_TIMEOUT_MS);
    rmSync(lock, { force: true });
    logger.info({}, 'skepd has stopped');
    return 0;
  } catch (error) {
    const { code, message } = SkepError.from(error);
    logger.fatal({ code, error: message, stack: (error as Error).stack }, 'skepd cannot go on');
    console.error(`skepd: ${message}`);
    return 1;
  }
}

/** A bug of ours must not leave a half-working daemon behind: the next start takes over. */
function dieLoudly(logger: Logger): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, (error: unknown) => {
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      logger.fatal({ event, error: message, stack }, 'skepd ends because of a bug');
      process.exit(70);
    });
}

function waitForSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.on(signal, () => {
        logger.info({ signal }, 'stopping');
        resolve();
      });
  });
}

async function withTimeout(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new SkepError('deadline_exceeded', 'the clean stop took too long')),
      timeoutMs,
    );
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Two daemons on one state directory would destroy it. @throws SkepError failed_precondition */
function takeLock(stateDir: string, lock: string): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const holder = runningSkepd(lock);
  if (holder !== undefined && holder !== process.pid)
    throw new SkepError(
      'failed_precondition',
      `another skepd (pid ${holder}) uses ${path.dirname(lock)}: stop it, or give --state-dir`,
    );
  writeFileSync(lock, `${process.pid}\n`, { mode: 0o600 });
}

/** The process that holds the lock of a state directory; undefined when none runs. */
export function runningSkepd(lock: string): number | undefined {
  const holder = readLock(lock);
  return holder !== undefined && isSkepd(holder) ? holder : undefined;
}

function readLock(lock: string): number | undefined {
  try {
    return Number(readFileSync(lock, 'utf8')) || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The pid may have been given to another program since. */
function isSkepd(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('daemon');
  } catch {
    return false; // No such process.
  }
}
