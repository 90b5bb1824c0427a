/**
 * TCP connections made from inside another network namespace, over the addon.
 */
import { statSync } from 'node:fs';
import { connect, Socket, type SocketConstructorOpts } from 'node:net';
import { loadAddon } from './addon.js';

const OWN_NAMESPACE = '/proc/self/ns/net';

/**
 * A socket that is connecting to an address as the network namespace at `path` sees it; this process's
 * own will do, too. Errors of the connection come as events.
 * @throws Node-like errors: ENOENT, EINVAL when the path is no network namespace (any more)
 */
export function connectIn(path: string, host: string, port: number): Socket {
  if (isSame(path, OWN_NAMESPACE)) return connect({ host, port });
  const { openTcpSocketIn } = loadAddon() as { openTcpSocketIn: (path: string) => number };
  // Reading begins once it is connected; net.Socket takes descriptors for connected ones otherwise.
  const options: SocketConstructorOpts & { readonly manualStart: true } = {
    fd: openTcpSocketIn(path),
    manualStart: true,
  };
  return new Socket(options).connect({ host, port });
}

function isSame(path: string, other: string): boolean {
  const [one, two] = [statSync(path), statSync(other)];
  return one.dev === two.dev && one.ino === two.ino;
}
