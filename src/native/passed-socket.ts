/**
 * A socket that whoever started this process has left open for it, looked at over the addon.
 */
import { loadAddon } from './addon.js';

/** What it is. */
export interface PassedSocket {
  /** A unix stream socket that others can connect to. */
  readonly isListeningStream: boolean;
  /** Where it is bound; empty if at no path. */
  readonly path: string;
}

/**
 * Looks at a descriptor, and keeps children of this process from getting it too.
 * @throws Node-like errors: EBADF, ENOTSOCK
 */
export function takePassedSocket(fd: number): PassedSocket {
  const { takePassedSocket: take } = loadAddon() as {
    takePassedSocket: (fd: number) => readonly [boolean, string];
  };
  const [isListeningStream, path] = take(fd);
  return { isListeningStream, path };
}
