/**
 * WireGuard devices of the kernel: made over rtnetlink, configured by the program `wg`
 * (wireguard-tools), which speaks the kernel's own protocol for it. Private keys go through its
 * standard input, never through arguments.
 */
import { spawn } from 'node:child_process';
import { SkepError } from '../../model/errors.js';
import type { Netlink } from '../../native/datapath-types.js';
import {
  WIREGUARD_ANSWER_BYTES_MAX,
  WIREGUARD_CALL_TIMEOUT_MS,
  WIREGUARD_KEEPALIVE_S,
} from '../limits.js';
import type { DeviceChange, DeviceState, WireguardDevice } from './wireguard-device.js';

const PROGRAM = 'wg';
/** As a file; /dev/stdin is made by udev, which not every host runs. */
const STANDARD_INPUT = '/proc/self/fd/0';
/** Peers in one call: about 150 bytes of arguments each. */
const PEERS_PER_CALL = 200;

/** Makes a device, or keeps the one there is. @throws Node-like EOPNOTSUPP without kernel WireGuard */
export function openKernelDevice(name: string, mtu: number, netlink: Netlink): WireguardDevice {
  if (netlink.linkKind(name) !== 'wireguard') {
    netlink.deleteLink(name);
    netlink.createWireguard(name);
  }
  netlink.setLinkMtu(name, mtu);
  netlink.setLinkUp(name);
  return new ToolDevice(name, netlink);
}

/** {@link WireguardDevice} through `wg`; serves any device `wg` can see. */
export class ToolDevice implements WireguardDevice {
  readonly name: string;
  private readonly netlink: Netlink;

  constructor(name: string, netlink: Netlink) {
    this.name = name;
    this.netlink = netlink;
  }

  async change(change: DeviceChange): Promise<void> {
    const { privateKey, port } = change;
    const own: string[] = [];
    if (port !== undefined) own.push('listen-port', String(port));
    if (privateKey !== undefined) own.push('private-key', STANDARD_INPUT);
    if (own.length > 0) {
      const key = privateKey === undefined ? '' : `${Buffer.from(privateKey).toString('base64')}\n`;
      await run(['set', this.name, ...own], key);
    }
    const peers = [
      ...change.remove.map((publicKey) => ['peer', base64(publicKey), 'remove']),
      ...change.add.map(({ publicKey, endpoint, tunnelAddress }) => [
        ...['peer', base64(publicKey), 'endpoint', endpoint],
        ...['persistent-keepalive', String(WIREGUARD_KEEPALIVE_S)],
        ...['allowed-ips', `${tunnelAddress}/32`],
      ]),
    ];
    for (let at = 0; at < peers.length; at += PEERS_PER_CALL) {
      await run(['set', this.name, ...peers.slice(at, at + PEERS_PER_CALL).flat()], '');
    }
  }

  async read(): Promise<DeviceState> {
    const [own = '', ...rows] = (await run(['show', this.name, 'dump'], '')).trimEnd().split('\n');
    const [, publicKey = '', port = '0'] = own.split('\t');
    const peers = rows.map((row) => {
      const fields = row.split('\t');
      return { publicKey: hexadecimal(fields[0] ?? ''), handshakeS: Number(fields[4] ?? 0) };
    });
    const known = publicKey === '(none)' ? '' : hexadecimal(publicKey);
    return { publicKey: known, port: Number(port), peers };
  }

  remove(): Promise<void> {
    this.netlink.deleteLink(this.name);
    return Promise.resolve();
  }
}

function base64(key: string): string {
  return Buffer.from(key, 'hex').toString('base64');
}

function hexadecimal(key: string): string {
  return Buffer.from(key, 'base64').toString('hex');
}

/** What `wg` printed. Its output holds private keys and is never logged. */
async function run(args: readonly string[], input: string): Promise<string> {
  return await new Promise((resolve, reject) => {
    // Our end of its input is a socket, which cannot be opened as a file: a shell puts a pipe between.
    const child = spawn('sh', ['-c', `cat | ${PROGRAM} "$@"`, PROGRAM, ...args], {
      timeout: WIREGUARD_CALL_TIMEOUT_MS,
    });
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
      if (output.length > WIREGUARD_ANSWER_BYTES_MAX) child.kill('SIGKILL');
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      complaint = (complaint + chunk).slice(0, 512);
    });
    child.stdin.on('error', () => undefined);
    child.on('error', (error) => {
      reject(new SkepError('unavailable', `${PROGRAM} cannot be run: ${error.message}`));
    });
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else if (/address already in use/i.test(complaint)) {
        reject(new SkepError('already_exists', 'the port is in use'));
      } else reject(new SkepError('unavailable', `${PROGRAM} failed: ${complaint.trim()}`));
    });
    child.stdin.end(input);
  });
}
