/** The manager that a fleet joins: a whole skepd on the testbed, or one alone in a process. */
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { dockerRequest } from '../../test/testbed/http.js';
import { CLIENT_NAMESPACE, packageRoot, WEB_IMAGE } from '../../test/testbed/layout.js';
import { skepdPid } from '../../test/testbed/skepd.js';
import { managerOf } from '../../test/testbed/swarm.js';
import { type Host, down, mustDocker, up } from '../../test/testbed/testbed.js';
import type { ManagerShare } from './dispatch-meter.js';
import type { ManagerAnswer, ManagerCommand, ManagerGreeting } from './fleet-manager.js';

/** What the bench asks of a manager. */
export interface FleetManager {
  readonly pid: number;
  /** `host:port` for nodes. */
  readonly address: string;
  readonly token: string;
  /** Command line that a program reaching the manager is put behind. */
  readonly nodesPrefix: readonly string[];
  create(name: string, replicas: number): Promise<void>;
  /** The same, until it has been sent to the nodes, with what of it is the manager's; only of one alone. */
  createMeasured?(name: string, replicas: number): Promise<ManagerShare | undefined>;
  setHeartbeat(seconds: number): Promise<void>;
  /** Tasks that run, as far as the manager knows. */
  running(): Promise<number>;
  stop(): Promise<void>;
}

/** A skepd with engine and data path, on a host of its own. */
export async function startSkepdManager(): Promise<FleetManager> {
  const host = managerOf(await up(1));
  try {
    await mustDocker(host.skepSocket, [
      ...['swarm', 'init', '--advertise-addr', host.address, '--availability', 'drain'],
      // Each node holds an address of the ingress network, as in stock Swarm: more than a /24 has.
      ...['--default-addr-pool', '10.0.0.0/8', '--default-addr-pool-mask-length', '16'],
    ]);
    const token = await mustDocker(host.skepSocket, ['swarm', 'join-token', '-q', 'worker']);
    return skepdManager(host, token);
  } catch (error) {
    await down();
    throw error;
  }
}

function skepdManager(host: Host, token: string): FleetManager {
  const { skepSocket } = host;
  return {
    pid: skepdPid(host) ?? 0,
    address: `${host.address}:2377`,
    token,
    nodesPrefix: ['nsenter', `--net=/var/run/netns/${CLIENT_NAMESPACE}`],
    async create(name, replicas) {
      const answer = await dockerRequest(skepSocket, 'POST', '/v1.41/services/create', {
        Name: name,
        Labels: { team: 'fleet' },
        TaskTemplate: { ContainerSpec: { Image: WEB_IMAGE, Env: [`NAME=${name}`] } },
        Mode: { Replicated: { Replicas: replicas } },
      });
      if (answer.status !== 201) throw new Error(`${name}: ${answer.status} ${answer.text}`);
    },
    async setHeartbeat(seconds) {
      const period = ['--dispatcher-heartbeat', `${seconds}s`];
      await mustDocker(skepSocket, ['swarm', 'update', ...period]);
    },
    async running() {
      const { body } = await dockerRequest(skepSocket, 'GET', '/v1.41/services?status=true');
      return (body as { ServiceStatus: { RunningTasks: number } }[]).reduce(
        (sum, { ServiceStatus }) => sum + ServiceStatus.RunningTasks,
        0,
      );
    },
    stop: async () => down(),
  };
}

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never;

/** A manager alone: log, server and loops, on the loopback address. */
export async function startLoneManager(): Promise<FleetManager> {
  const program = path.join(packageRoot(), 'dist/bench/support/fleet-manager.js');
  const child = fork(program, { execArgv: ['--max-old-space-size=8192'] });
  const { address, token } = await nextMessage<ManagerGreeting>(child);
  const waiting = new Map<number, (answer: ManagerAnswer) => void>();
  child.on('message', (answer: ManagerAnswer) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  let count = 0;
  const ask = async (command: Unnumbered<ManagerCommand>): Promise<ManagerAnswer> => {
    const id = count++;
    const answer = new Promise<ManagerAnswer>((resolve, reject) => {
      waiting.set(id, resolve);
      child.once('exit', () => reject(new Error('the manager ended')));
    });
    child.send({ ...command, id });
    return await answer;
  };
  child.setMaxListeners(0);
  return {
    pid: child.pid ?? 0,
    address,
    token,
    nodesPrefix: [],
    create: async (name, replicas) => void (await ask({ kind: 'create', name, replicas })),
    createMeasured: async (name, replicas) => (await ask({ kind: 'one', name, replicas })).took,
    setHeartbeat: async (seconds) => void (await ask({ kind: 'heartbeat', seconds })),
    running: async () => (await ask({ kind: 'running' })).running,
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.disconnect();
      }),
  };
}

async function nextMessage<T>(child: ChildProcess): Promise<T> {
  return await new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('the manager ended'));
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      resolve(message as T);
    });
  });
}
