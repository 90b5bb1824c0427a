/**
 * Keeps two processes off the same state. Node has no advisory locks, so a file names the process
 * that has the state open, by its id and the time it started: an id alone may be someone else's by
 * now. A killed process leaves its file behind, which then counts for nothing.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SkepError } from '../../model/errors.js';
import { pathIn } from './files.js';

const LOCK_FILE = 'lock';
/** Position of the start time behind the command's name in /proc/<pid>/stat. */
const START_TIME_FIELD = 19;
const ATTEMPTS_MAX = 3;

/** Clock ticks from boot to the start of a process, or undefined when there is no such process. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_FIELD];
  } catch {
    // The process is gone.
    return undefined;
  }
}

/**
 * Takes the lock of a directory; returns the releaser.
 * @throws SkepError failed_precondition when a living process has it, this one included.
 */
export function lockDirectory(directory: string): () => void {
  const path = pathIn(directory, LOCK_FILE);
  const own = `${process.pid} ${startTimeOf(process.pid) ?? ''}`;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    try {
      writeFileSync(path, own, { flag: 'wx', mode: 0o600 });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    removeIfStale(path, directory);
  }
  throw new SkepError(
    'failed_precondition',
    `raft state in ${directory} is being opened elsewhere`,
  );
}

function removeIfStale(path: string, directory: string): void {
  let holder: string;
  try {
    holder = readFileSync(path, 'utf8');
  } catch {
    // Released in the meantime; the next attempt tells.
    return;
  }
  const [pid = '', startTime = ''] = holder.split(' ');
  if (startTime !== '' && startTimeOf(Number(pid)) === startTime) {
    throw new SkepError(
      'failed_precondition',
      `raft state in ${directory} is in use by process ${pid}`,
    );
  }
  rmSync(path, { force: true });
}
