/**
 * The directory for secrets and configs of tasks. What lies there must never reach a disk, so a
 * memory file system is mounted over it unless it is on one already. It stays mounted when skepd
 * ends: running containers have their files from it.
 */
import { execFile } from 'node:child_process';
import { mkdir, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { SkepError } from '../model/errors.js';

const run = promisify(execFile);
/** `f_type` of tmpfs and ramfs (linux/magic.h). */
const MEMORY_FILE_SYSTEMS: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);
const MOUNT_TIMEOUT_MS = 10_000;
/** As Docker's own; only root passes through the directory. */
const OPTIONS = 'mode=0700,nosuid,nodev,noexec';

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

/** Whether a directory is on tmpfs or ramfs. */
export async function isInMemory(directory: string): Promise<boolean> {
  return MEMORY_FILE_SYSTEMS.has((await statfs(directory)).type);
}

async function mount(directory: string, options: string): Promise<void> {
  await run('mount', ['-t', 'tmpfs', '-o', options, 'skep-secrets', directory], {
    timeout: MOUNT_TIMEOUT_MS,
  });
}
