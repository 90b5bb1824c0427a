/**
 * Binds of the Docker Engine's socket into containers. What asks the socket for services and tasks
 * (dashboards, reverse proxies) must see the swarm, of which the engine below knows nothing: such a
 * bind gets skepd's socket, which passes everything else to the engine. A label keeps the engine's.
 */
import { posix } from 'node:path';

/** Container or service label: `true` leaves binds of the engine's socket as they are. */
export const ENGINE_SOCKET_LABEL = 'skep.container.engine_socket';

/** Where every Docker host has the engine's socket. */
const USUAL_PATHS = ['/var/run/docker.sock', '/run/docker.sock'];

/** The two sockets of a host, under the paths that the engine sees. */
export class SocketBinds {
  private readonly enginePaths: ReadonlySet<string>;

  constructor(
    private readonly skepSocket: string,
    engineSocket: string,
  ) {
    this.enginePaths = new Set([...USUAL_PATHS, posix.normalize(engineSocket)]);
  }

  /** The source to be bound instead of `source`, given the labels of container and service. */
  source(source: string, ...labels: readonly (Labels | undefined)[]): string {
    if (!this.enginePaths.has(posix.normalize(source))) return source;
    const kept = labels.some((set) => set?.[ENGINE_SOCKET_LABEL] === 'true');
    return kept ? source : this.skepSocket;
  }
}

type Labels = Readonly<Record<string, string>>;
