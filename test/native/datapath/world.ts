/**
 * A small cluster out of network namespaces: nodes with their own bpffs and data path, containers
 * behind veth pairs, and a client outside. Every namespace belongs to an actor process, so that
 * nothing is left once the actors have ended, also when a test fails.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Seen, Tally, Target } from './actor.js';
import { deriveIpv6 } from '../../../src/model/derived-addresses.js';
import type { DatapathLimits, DatapathState, LinkRow } from '../../../src/native/datapath-types.js';

const ACTOR = path.join(path.dirname(fileURLToPath(import.meta.url)), 'actor.js');
/** Address of the service DNS in these tests. */
export const DNS_ADDRESS = '169.254.75.2';
export const TUNNEL_PORT = 4789;
/** Start of IPv6 addresses on the underlay; the last part of the IPv4 address follows. */
export const UNDERLAY6 = 'fd00:77::';
const LIMITS = {
  services: 256,
  backends: 1024,
  endpoints: 1024,
  nodes: 64,
  links: 64,
  connections: 4096,
};

/** An actor as the test sees it. */
export class Actor {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  readonly #forked: boolean;
  #next = 1;

  private constructor(child: ChildProcess, forked: boolean) {
    this.#child = child;
    this.#forked = forked;
    child.on('message', (message) => {
      const { id, result, error } = message as {
        id: number;
        result?: unknown;
        error?: { message: string; code?: string };
      };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(Object.assign(new Error(error.message), { code: error.code }));
    });
    child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the actor has ended'));
      this.#waiting.clear();
    });
  }

  /** Starts one behind a command prefix, e.g. `unshare --net`. */
  static async start(prefix: readonly [string, ...string[]]): Promise<Actor> {
    const [command, ...args] = [...prefix, process.execPath, ACTOR];
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const forked = prefix.includes('--fork') || prefix.includes('-p');
    const actor = new Actor(child, forked);
    await new Promise((resolve, reject) => {
      actor.#waiting.set(0, { resolve, reject });
    });
    return actor;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async call(call: string, ...args: readonly unknown[]): Promise<unknown> {
    return await new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      // An actor that has been killed since is told to whoever asks, not to the process.
      this.#child.send({ id, call, args }, (error) => {
        if (error === null) return;
        this.#waiting.delete(id);
        reject(error);
      });
    });
  }

  async serve(port: number, host = '0.0.0.0'): Promise<void> {
    await this.call('serveTcp', port, host);
    await this.call('serveUdp', port, host);
  }

  async askTcp(target: Target): Promise<Seen & { readonly peer: string }> {
    return (await this.call('askTcp', target)) as Seen & { readonly peer: string };
  }

  async askUdp(target: Target): Promise<Seen & { readonly peer: string; readonly bytes: number }> {
    const seen = await this.call('askUdp', target);
    return seen as Seen & { readonly peer: string; readonly bytes: number };
  }

  async tally(): Promise<Tally> {
    return (await this.call('tally')) as Tally;
  }

  /** Ends it the hard way and waits until it is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    // Behind a command that forks, the actor is its child.
    if (this.#forked) for (const pid of childrenOf(this.pid)) process.kill(pid, 'SIGKILL');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** A host: a network and mount namespace held by one actor, and the actor that owns the data path. */
export class WorldNode {
  constructor(
    readonly holder: Actor,
    readonly directory: string,
    readonly address: string,
    public agent: Actor,
    /** Outer address of its tunnel: `address`, or its IPv6 one. */
    readonly tunnelAddress: string,
    readonly ownProcesses = false,
  ) {}

  /** MTU of the containers' interfaces, as its data path says. */
  containerMtu = 0;

  /** Beside the file system of pins, which holds nothing else. */
  get recordFile(): string {
    return `${this.directory}-state/host`;
  }

  /** Calls a method of the data path. */
  async datapath(method: string, ...args: readonly unknown[]): Promise<unknown> {
    return await this.agent.call('datapath', method, args);
  }

  async dump(): Promise<DatapathState> {
    return (await this.datapath('dump')) as DatapathState;
  }

  /** Packets by counter name. */
  async counters(): Promise<Record<string, number>> {
    return (await this.datapath('counters')) as Record<string, number>;
  }

  /** Command prefix that enters the node's namespaces. */
  enter(): [string, ...string[]] {
    const { pid } = this.holder;
    if (!this.ownProcesses) return ['nsenter', '-t', String(pid), '-n', '-m', '--'];
    // unshare has forked: its child is the first process of the namespace.
    return ['nsenter', '-t', String(childrenOf(pid)[0]), '-n', '-m', '-p', '--'];
  }

  run(...command: readonly string[]): string {
    const enter = ['-t', String(this.holder.pid), '-n', '-m', '--'];
    return execFileSync('nsenter', [...enter, ...command], { encoding: 'utf8' });
  }
}

/** A container's interface on one network; with `subnet6` it has the derived IPv6 address too. */
export interface Attachment {
  readonly vni: number;
  readonly address: string;
  readonly subnet6?: string;
}

/** Options of a node's data path beyond the address. */
export interface NodeOptions {
  /** The node's processes are in a namespace of their own and end with it; it has its own /run. */
  readonly ownProcesses?: boolean;
  readonly forceClsact?: boolean;
  readonly forceTunnelDevice?: boolean;
  /** The nodes' tunnels use their IPv6 addresses. */
  readonly tunnelOverIpv6?: boolean;
  readonly limits?: Partial<DatapathLimits>;
  /** {@link TUNNEL_PORT} if absent. */
  readonly tunnelPort?: number;
  /** `eth0` if absent. */
  readonly underlayInterfaces?: readonly string[];
}

/** Builds and removes everything. */
export class World {
  readonly #actors: Actor[] = [];
  readonly #directories: string[] = [];
  #interfaces = 0;

  async actor(prefix: readonly [string, ...string[]]): Promise<Actor> {
    const actor = await Actor.start(prefix);
    this.#actors.push(actor);
    return actor;
  }

  /** An outside client or switch: only a network namespace. */
  async outside(): Promise<Actor> {
    const actor = await this.actor(['unshare', '--net']);
    inside(actor, 'ip', 'link', 'set', 'lo', 'up');
    return actor;
  }

  /** A host on the underlay that `outside` switches, with a data path open on it. */
  async node(outside: Actor, address: string, options: NodeOptions = {}): Promise<WorldNode> {
    // With processes of its own, what its agents leave running ends with the node.
    const holder = await this.actor([
      ...(['unshare', '--net', '--mount', '--propagation', 'private'] as const),
      ...(options.ownProcesses === true ? ['--pid', '--fork', '--kill-child'] : []),
    ]);
    const directory = mkdtempSync(path.join(tmpdir(), 'skep-datapath-'));
    this.#directories.push(directory);
    const address6 = `${UNDERLAY6}${address.split('.').at(-1)}`;
    const tunnelAddress = options.tunnelOverIpv6 === true ? address6 : address;
    const own = options.ownProcesses === true;
    const node = new WorldNode(holder, directory, address, holder, tunnelAddress, own);
    if (node.ownProcesses) node.run('mount', '-t', 'tmpfs', 'tmpfs', '/run');
    node.run('mount', '-t', 'bpf', 'bpf', directory);
    node.run('ip', 'link', 'set', 'lo', 'up');
    const port = `port${this.#interfaces++}`;
    node.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port);
    node.run('ip', 'link', 'set', port, 'netns', String(outside.pid));
    node.run('ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    node.run('ip', '-6', 'addr', 'add', `${address6}/64`, 'dev', 'eth0', 'nodad');
    node.run('ip', 'link', 'set', 'eth0', 'up');
    inside(outside, 'ip', 'link', 'set', port, 'master', 'br0', 'up');
    await this.openAgent(node, options);
    return node;
  }

  /** Starts a process, behind a command if one is given, that opens (or takes over) the node's data path. */
  async openAgent(
    node: WorldNode,
    options: NodeOptions = {},
    command: readonly string[] = [],
  ): Promise<void> {
    node.agent = await this.actor([...node.enter(), ...command]);
    const mtu = await node.agent.call('open', {
      pinDirectory: `${node.directory}/skep`,
      recordFile: node.recordFile,
      underlayInterfaces: ['eth0'],
      tunnelAddress: node.tunnelAddress,
      tunnelPort: TUNNEL_PORT,
      dnsAddress: DNS_ADDRESS,
      ...options,
      limits: { ...LIMITS, ...options.limits },
    });
    node.containerMtu = mtu as number;
  }

  /** A container on a node, with one interface per attachment; the first is the default route. */
  async container(
    node: WorldNode,
    name: string,
    attachments: readonly Attachment[],
    mtu = node.containerMtu,
  ): Promise<Actor> {
    const actor = await this.actor(['unshare', '--net']);
    await actor.call('setName', name);
    inside(actor, 'ip', 'link', 'set', 'lo', 'up');
    for (const [index, attachment] of attachments.entries()) {
      const interfaceName = `c${this.#interfaces++}`;
      const mac = macOf(attachment.address);
      const device = `eth${index}`;
      const size = String(mtu);
      const peer = ['peer', 'name', `${interfaceName}p`, 'address', mac, 'mtu', size];
      node.run('ip', 'link', 'add', interfaceName, 'mtu', size, 'type', 'veth', ...peer);
      node.run('ip', 'link', 'set', `${interfaceName}p`, 'netns', String(actor.pid));
      node.run('ip', 'link', 'set', interfaceName, 'up');
      inside(actor, 'ip', 'link', 'set', `${interfaceName}p`, 'name', device);
      inside(actor, 'ip', 'addr', 'add', `${attachment.address}/24`, 'dev', device);
      inside(actor, 'ip', 'link', 'set', device, 'up');
      if (index === 0) {
        inside(actor, 'ip', 'route', 'add', 'default', 'via', gatewayOf(attachment.address));
      }
      const { vni, address, subnet6 } = attachment;
      const row: LinkRow = { interfaceName, mac, vni, address };
      await node.datapath('attachLink', row);
      if (subnet6 !== undefined) {
        const subnets = { subnet: `${address}/24`, subnet6 };
        const own = `${deriveIpv6(subnets, address)}/64`;
        inside(actor, 'ip', '-6', 'addr', 'add', own, 'dev', device, 'nodad');
        if (index === 0) {
          const gateway = deriveIpv6(subnets, gatewayOf(address));
          inside(actor, 'ip', '-6', 'route', 'add', 'default', 'via', gateway);
        }
      }
    }
    return actor;
  }

  /** Ends all actors; namespaces, devices, mounts and pins go with them. */
  async close(): Promise<void> {
    await Promise.all(this.#actors.map(async (actor) => await actor.kill()));
    for (const directory of this.#directories) {
      rmdirSync(directory);
      rmSync(`${directory}-state`, { recursive: true, force: true });
    }
  }
}

/** Process ids of the children of a process. */
function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    // It has just ended.
    return [];
  }
}

/** Runs a command in an actor's network namespace. */
export function inside(actor: Actor, ...command: readonly string[]): string {
  return execFileSync('nsenter', ['-t', String(actor.pid), '-n', '--', ...command], {
    encoding: 'utf8',
  });
}

/** Docker's MAC for an overlay address. */
export function macOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return `02:42:${bytes.join(':')}`;
}

/** First address of the /24. */
export function gatewayOf(address: string): string {
  return address.replace(/\.\d+$/, '.1');
}

/** Makes a node’s underlay interface complete checksums itself, as a card does, so that receivers verify them. */
export function completeOnCard(node: WorldNode): void {
  const program =
    'import fcntl,socket,struct,array;s=socket.socket();' +
    'b=array.array("B",struct.pack("II",0x17,0));a,_=b.buffer_info();' +
    'fcntl.ioctl(s,0x8946,struct.pack("16sP16x",b"eth0",a))';
  node.run('python3', '-c', program);
}
