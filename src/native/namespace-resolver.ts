/**
 * Takes over 127.0.0.11:53 in a container's network namespace, over the native class of the same
 * name. Nothing has to be cleaned up after a crash: sockets and redirection end with the process.
 */
import { loadAddon } from './addon.js';

/** Transports of DNS. */
export type Transport = 'udp' | 'tcp';

/** A container's 127.0.0.11:53 in our hands, from opening to `close`. */
export interface NamespaceResolver {
  /** Descriptor of the UDP socket that gets the questions; the caller closes it. Once. */
  takeUdp(): number;
  /** Descriptor of the listening TCP socket; the caller closes it. Once. */
  takeTcp(): number;
  /**
   * Descriptor of a new socket in the namespace whose packets to 127.0.0.11:53 reach the engine's
   * resolver: unconnected for UDP, connecting or connected for TCP. The caller closes it.
   * @throws Node-like errors
   */
  openEngineSocket(transport: Transport): number;
  /** Whether the path still stands for this namespace. */
  isAt(path: string): boolean;
  /**
   * Questions go on to whoever is next: another door in this namespace, else the engine's resolver.
   * Those that have come may still be answered, and TCP connections from these ports go on.
   * @throws Node-like errors
   */
  release(tcpClientPorts: readonly number[]): void;
  /**
   * Resolves once nothing of ours is left in the namespace's rules; the sockets taken may be closed
   * then. Does not keep the namespace alive any longer.
   */
  close(): Promise<void>;
}

/**
 * Opens it in the namespace that `path` stands for. From then on questions wait in the sockets, unless a
 * door opened earlier, here or by another process, still takes them.
 * @throws Node-like errors: ENOENT, EINVAL when the path is no network namespace (yet) or our own,
 * EOPNOTSUPP on kernels before 5.12
 */
export type OpenNamespaceResolver = (path: string) => NamespaceResolver;

/** The real one. */
export const openNamespaceResolver: OpenNamespaceResolver = (path) => {
  const { NamespaceResolver: Native } = loadAddon() as {
    NamespaceResolver: new (path: string) => NamespaceResolver;
  };
  return new Native(path);
};
