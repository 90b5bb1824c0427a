/**
 * WireGuard devices driven by wireguard-go. The process is detached and belongs to nobody: it
 * outlives a killed skepd, so that traffic goes on encrypted, and the next skepd takes it over
 * through its configuration socket. It ends with its device.
 */
import { accessSync, constants, rmSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { SkepError } from '../../model/errors.js';
import type { Netlink } from '../../native/datapath-types.js';
import { startDetached } from '../detached-process.js';
import {
  WIREGUARD_ANSWER_BYTES_MAX,
  WIREGUARD_CALL_TIMEOUT_MS,
  WIREGUARD_KEEPALIVE_S,
  WIREGUARD_START_TIMEOUT_MS,
} from '../limits.js';
import { publicKeyOf } from './keys.js';
import type { DeviceChange, DeviceState, PeerState, WireguardDevice } from './wireguard-device.js';

/** Debian's package of the same name installs it. */
export const PROGRAM = 'wireguard-go';
/** Where wireguard-go puts its sockets; fixed at its build. */
const SOCKET_DIRECTORY = '/var/run/wireguard';
const TUN_DEVICE = '/dev/net/tun';
const START_POLL_MS = 20;
/** Minus EADDRINUSE, as the protocol reports it. */
const PORT_IN_USE = '-98';

/** Where programs are looked for: services may run with a short PATH. */
export const PROGRAM_DIRECTORIES: readonly string[] = [
  ...(process.env['PATH'] ?? '').split(':').filter((each) => each.startsWith('/')),
  ...['/usr/local/bin', '/usr/bin', '/usr/sbin'],
];

/** Full path of a program, or undefined. */
export function findProgram(name: string, directories: readonly string[]): string | undefined {
  for (const directory of directories) {
    const file = path.join(directory, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next directory.
    }
  }
  return undefined;
}

/** Takes over or starts the process of a device. @throws SkepError failed_precondition, unavailable */
export async function openUserspaceDevice(
  name: string,
  mtu: number,
  netlink: Netlink,
  directories: readonly string[] = PROGRAM_DIRECTORIES,
): Promise<WireguardDevice> {
  const device = new UserspaceDevice(name, netlink);
  if (netlink.linkKind(name) === undefined || !(await device.answers())) {
    await device.remove();
    await start(device, netlink, directories);
  }
  netlink.setLinkMtu(name, mtu);
  netlink.setLinkUp(name);
  return device;
}

async function start(
  device: UserspaceDevice,
  netlink: Netlink,
  directories: readonly string[],
): Promise<void> {
  const program = findProgram(PROGRAM, directories);
  if (program === undefined) {
    throw new SkepError('failed_precondition', `the program ${PROGRAM} is not installed`);
  }
  try {
    accessSync(TUN_DEVICE, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const text = `${TUN_DEVICE} cannot be opened: load the module tun`;
    throw new SkepError('failed_precondition', text, { cause });
  }
  const child = startDetached(program, ['-f', device.name], { LOG_LEVEL: 'silent' });
  for (let waitedMs = 0; waitedMs < WIREGUARD_START_TIMEOUT_MS; waitedMs += START_POLL_MS) {
    if (child.ended() !== undefined) break;
    if (netlink.linkKind(device.name) !== undefined && (await device.answers())) return;
    await new Promise((resolve) => setTimeout(resolve, START_POLL_MS));
  }
  const why = child.ended() ?? 'it does not answer';
  child.kill();
  throw new SkepError('unavailable', `${PROGRAM} could not make ${device.name}: ${why}`);
}

/** {@link WireguardDevice} over the socket of a wireguard-go. */
class UserspaceDevice implements WireguardDevice {
  readonly name: string;
  private readonly netlink: Netlink;

  constructor(name: string, netlink: Netlink) {
    this.name = name;
    this.netlink = netlink;
  }

  async answers(): Promise<boolean> {
    try {
      await this.call('get=1\n\n');
      return true;
    } catch {
      // Nobody there, or nobody who answers: it is made anew.
      return false;
    }
  }

  async change(change: DeviceChange): Promise<void> {
    await this.call(changeRequest(change));
  }

  async read(): Promise<DeviceState> {
    return parseState(await this.call('get=1\n\n'));
  }

  remove(): Promise<void> {
    // wireguard-go ends when its device or its socket goes.
    this.netlink.deleteLink(this.name);
    rmSync(this.socket(), { force: true });
    return Promise.resolve();
  }

  private socket(): string {
    return path.join(SOCKET_DIRECTORY, `${this.name}.sock`);
  }

  /** One request, one answer. Neither is ever logged: they hold private keys. */
  private async call(request: string): Promise<string> {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = net.connect(this.socket());
      let text = '';
      const fail = (why: string): void => {
        socket.destroy();
        reject(new SkepError('unavailable', `${PROGRAM} of ${this.name}: ${why}`));
      };
      socket.setTimeout(WIREGUARD_CALL_TIMEOUT_MS, () => fail('no answer'));
      socket.setEncoding('utf8');
      socket.on('error', (error) => fail(error.message));
      socket.on('close', () => fail('the connection was closed'));
      socket.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > WIREGUARD_ANSWER_BYTES_MAX) fail('the answer is too long');
        else if (text.endsWith('\n\n')) {
          socket.destroy();
          resolve(text);
        }
      });
      socket.write(request);
    });
    const failure = /^errno=(-?\d+)$/m.exec(answer)?.[1] ?? '0';
    if (failure === PORT_IN_USE) throw new SkepError('already_exists', 'the port is in use');
    if (failure !== '0') {
      throw new SkepError(
        'internal',
        `${PROGRAM} of ${this.name} refused a change: errno ${failure}`,
      );
    }
    return answer;
  }
}

/** A `set` of the cross-platform configuration protocol (wireguard.com/xplatform). */
function changeRequest(change: DeviceChange): string {
  const lines = ['set=1'];
  if (change.privateKey !== undefined) {
    lines.push(`private_key=${Buffer.from(change.privateKey).toString('hex')}`);
  }
  if (change.port !== undefined) lines.push(`listen_port=${change.port}`);
  for (const publicKey of change.remove) lines.push(`public_key=${publicKey}`, 'remove=true');
  for (const peer of change.add) {
    lines.push(
      `public_key=${peer.publicKey}`,
      `endpoint=${peer.endpoint}`,
      'replace_allowed_ips=true',
      `allowed_ip=${peer.tunnelAddress}/32`,
      `persistent_keepalive_interval=${WIREGUARD_KEEPALIVE_S}`,
    );
  }
  return `${lines.join('\n')}\n\n`;
}

function parseState(answer: string): DeviceState {
  let publicKey = '';
  let port = 0;
  const peers: { publicKey: string; handshakeS: number }[] = [];
  for (const line of answer.split('\n')) {
    const at = line.indexOf('=');
    const value = line.slice(at + 1);
    switch (line.slice(0, at)) {
      case 'private_key':
        publicKey = Buffer.from(publicKeyOf(Buffer.from(value, 'hex'))).toString('hex');
        break;
      case 'listen_port':
        port = Number(value);
        break;
      case 'public_key':
        peers.push({ publicKey: value, handshakeS: 0 });
        break;
      case 'last_handshake_time_sec': {
        const last = peers.at(-1);
        if (last !== undefined) last.handshakeS = Number(value);
        break;
      }
      default:
        break;
    }
  }
  return { publicKey, port, peers: peers satisfies readonly PeerState[] };
}
