/**
 * The end of a process that is not a child of this one, told by the kernel at once, over the native
 * class of the same name.
 */
import { loadAddon } from './addon.js';

/** A process that is watched, until it ends or `close`. */
export interface ProcessWatch {
  /** No callback from now on. Safe to repeat, and after the end. */
  close(): void;
}

/**
 * Calls `onEnd` once when the process ends, in a turn of the event loop of its own; a watch keeps no
 * process alive. The id may have gone to another process since it was read, so the process is watched
 * only if it is in the network namespace that `namespacePath` stands for.
 * @throws Node-like errors: ESRCH when the process is gone or elsewhere; ENOENT, EINVAL when the path is
 * no network namespace (any more) or our own; EMFILE with 10,000 watched; ENOSYS on kernels before 5.3
 */
export type WatchProcess = (pid: number, namespacePath: string, onEnd: () => void) => ProcessWatch;

/** The real one. */
export const watchProcess: WatchProcess = (pid, namespacePath, onEnd) => {
  const { ProcessWatch: Native } = loadAddon() as {
    ProcessWatch: new (pid: number, namespacePath: string, onEnd: () => void) => ProcessWatch;
  };
  return new Native(pid, namespacePath, onEnd);
};
