/**
 * The directory for secrets and configs of tasks. What lies there must never reach a disk, so a
 * memory file system is mounted over it unless it is on one already. It stays mounted when skepd
 * ends: running containers have their files from it. It goes with the node.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rmdir, statfs } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { SkepError } from '../model/errors.js';

const run = promisify(execFile);
/** `f_type` of tmpfs and ramfs (linux/magic.h). */
const MEMORY_FILE_SYSTEMS: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);
const MOUNT_TIMEOUT_MS = 10_000;
/** As Docker's own; only root passes through the directory. */
const OPTIONS = 'mode=0700,nosuid,nodev,noexec';
/** What the mount is called in the list of mounts: by that it is known to be ours, also to a later skepd. */
const SOURCE = 'skep-secrets';

/**
 * Makes the directory, in memory.
 * @throws SkepError failed_precondition when nothing can be mounted there
 */
export async function ensureSecretsDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if (await isInMemory(directory)) return;
  try {
    // Linux 6.4 and newer can keep it out of swap, too.
    await mount(directory, `${OPTIONS},noswap`).catch(() => mount(directory, OPTIONS));
  } catch (error) {
    throw new SkepError(
      'failed_precondition',
      `secrets must not be written to a disk, and no tmpfs could be mounted on ${directory}: ` +
        `${SkepError.from(error).message}; mount one there, or choose another place with --secrets-dir`,
      { cause: error },
    );
  }
}

/**
 * Takes the memory file system away that {@link ensureSecretsDirectory} has mounted, of whatever skepd,
 * once nothing is in it. One that somebody else mounted stays, and so does one with files in it.
 * @returns whether there is none of ours any more
 * @throws Node-like errors
 */
export async function removeSecretsDirectory(directory: string): Promise<boolean> {
  if (!(await isOurs(directory))) return true;
  if ((await readdir(directory)).length > 0) return false;
  await run('umount', [directory], { timeout: MOUNT_TIMEOUT_MS });
  await rmdir(directory);
  return true;
}

/** Whether the file system on top there is one of ours. */
async function isOurs(directory: string): Promise<boolean> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .map((line) => line.split(' '));
  const own = mounts.findLast(([, place = '']) => unescapeMount(place) === path.resolve(directory));
  return own?.[0] === SOURCE && own[2] === 'tmpfs';
}

/** Blanks and the like in the list of mounts are octal. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Whether a directory is on tmpfs or ramfs. */
export async function isInMemory(directory: string): Promise<boolean> {
  return MEMORY_FILE_SYSTEMS.has((await statfs(directory)).type);
}

async function mount(directory: string, options: string): Promise<void> {
  await run('mount', ['-t', 'tmpfs', '-o', options, SOURCE, directory], {
    timeout: MOUNT_TIMEOUT_MS,
  });
}
