/**
 * What `skep daemon` can be told, with defaults, and where each thing lives under the state
 * directory.
 */
import path from 'node:path';
import { SocketBinds } from '../model/engine-socket.js';
import type { LogLevel } from '../observe/logger.js';

/** Settings of one skepd. */
export interface DaemonOptions {
  /** Everything that must survive a restart; 0700. */
  readonly stateDir: string;
  /** Unix socket of the stock Docker Engine. */
  readonly engineSocket: string;
  /** Unix socket on which skepd serves the Docker API. */
  readonly apiSocket: string;
  /** Defaults for `swarm init` and `swarm join` without the flag of that name; empty: none. */
  readonly listenAddr: string;
  readonly advertiseAddr: string;
  readonly dataPathAddr: string;
  /** 0: 4789. */
  readonly dataPathPort: number;
  /** Attaches programs with clsact filters also where the kernel knows tcx. */
  readonly forceClsact: boolean;
  /** Directory on a bpffs for pinned maps, programs and links. */
  readonly pinDir: string;
  /** Where the engine looks for the network plugin. */
  readonly pluginSocket: string;
  /** On a memory file system, seen by the engine under the same path. */
  readonly secretsDir: string;
  /** `KIND=VALUE` each: user-defined resources of this node, as dockerd's flag of the same name. */
  readonly nodeGenericResource: readonly string[];
  readonly logLevel: LogLevel;
}

/** Defaults for a host of its own. */
export const DAEMON_DEFAULTS: DaemonOptions = {
  stateDir: '/var/lib/skep',
  engineSocket: '/run/docker.sock',
  apiSocket: '/run/skep.sock',
  listenAddr: '',
  advertiseAddr: '',
  dataPathAddr: '',
  dataPathPort: 0,
  forceClsact: false,
  pinDir: '/sys/fs/bpf/skep',
  pluginSocket: '/run/docker/plugins/skep.sock',
  secretsDir: '/run/skep/secrets',
  nodeGenericResource: [],
  logLevel: 'info',
};

/** Paths below the state directory. `swarm` is what `swarm leave` wipes and a backup copies. */
export function statePaths(stateDir: string): {
  readonly swarm: string;
  readonly nodeState: string;
  readonly knownManagers: string;
  readonly certificates: string;
  readonly raft: string;
  readonly worker: string;
  readonly network: string;
  /** Sockets of the name server. */
  readonly names: string;
  /** What the data path has changed on the host. */
  readonly hostRecord: string;
  readonly lock: string;
} {
  const swarm = path.join(stateDir, 'swarm');
  return {
    swarm,
    nodeState: path.join(swarm, 'docker-state.json'),
    knownManagers: path.join(swarm, 'state.json'),
    certificates: path.join(swarm, 'certificates'),
    raft: path.join(swarm, 'raft'),
    worker: path.join(swarm, 'worker'),
    network: path.join(swarm, 'network'),
    names: path.join(swarm, 'network', 'names'),
    hostRecord: path.join(swarm, 'network', 'host'),
    lock: path.join(stateDir, 'skepd.pid'),
  };
}

/** The host's two sockets, for containers that bind one. */
export function socketBinds(options: DaemonOptions): SocketBinds {
  return new SocketBinds(path.resolve(options.apiSocket), path.resolve(options.engineSocket));
}
