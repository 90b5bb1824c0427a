/**
 * A process that lives inside one network namespace and does there what a test asks for over IPC:
 * serve and ask over TCP and UDP, hold a connection open, or own a data path.
 */
import dgram from 'node:dgram';
import net from 'node:net';
import { hostname } from 'node:os';
import { openDatapath, type KernelDatapath } from '../../../src/native/datapath.js';
import { DirectAgent } from './direct-agent.js';
import { EncryptionAgent, type EncryptionOptions } from './encryption-agent.js';
import { SelfTestAgent } from './self-test-agent.js';
import { UnderlayAgent } from './underlay-agent.js';
import type { DatapathOptions } from '../../../src/native/datapath-types.js';
import type { PathPeer } from '../../../src/network/paths/types.js';
import { type Ipv4Packet, ipv4Frame } from './packets.js';

/** Answer of a server: who it is and which peer it saw. */
export interface Seen {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

/** What a kept-up connection has been through. */
export interface Tally {
  readonly answered: number;
  readonly failure: string | undefined;
}

/** Where to connect to, and how. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly timeoutMs?: number;
  readonly payloadBytes?: number;
  /** UDP: connects the socket before it sends. */
  readonly connected?: boolean;
}

/** How a short connection ends: the client resets it, the client ends first, the server does. */
export type Ending = 'reset' | 'client' | 'server';

type Request = { readonly id: number; readonly call: string; readonly args: readonly unknown[] };

const TIMEOUT_MS = 3000;
const TC_REDIRECT = 7;
const REFRESH_MS = 5;

let name = hostname();
let datapath: KernelDatapath | undefined;
let encryption: EncryptionAgent | undefined;
let selfTest: SelfTestAgent | undefined;
let underlay: UnderlayAgent | undefined;
let direct: DirectAgent | undefined;
let stream: { socket: net.Socket; answered: number; failure: string | undefined } | undefined;

/** The family a datagram socket needs for a target: IPv6 also for IPv4-mapped addresses. */
function familyOf(host: string): 'udp4' | 'udp6' {
  return net.isIPv6(host) ? 'udp6' : 'udp4';
}

/** The address that means all of the host's own, in the family of `host`. */
function anyOf(host: string): string {
  return net.isIPv6(host) ? '::' : '0.0.0.0';
}

async function listening(server: net.Server, port: number, host: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // IPv6 sockets alone: an IPv4 client would else show up in its IPv6 form.
    server.listen({ port, host, ipv6Only: net.isIPv6(host) }, resolve);
  });
}

/** Greets each connection with what it saw of its peer, then returns every byte. */
async function serveTcp(port: number, host = '0.0.0.0'): Promise<void> {
  const server = net.createServer((socket) => {
    const seen: Seen = {
      name,
      address: socket.remoteAddress ?? '',
      port: socket.remotePort ?? 0,
    };
    socket.on('error', () => socket.destroy());
    socket.write(`${JSON.stringify(seen)}\n`);
    socket.pipe(socket);
  });
  await listening(server, port, host);
}

/** Greets each connection and closes it, before the client does. */
async function serveFarewell(port: number): Promise<void> {
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.end(`${JSON.stringify({ name })}\n`);
  });
  await listening(server, port, '0.0.0.0');
}

/** Answers each datagram with what it saw of its peer, padded to the datagram's length. */
async function serveUdp(port: number, host = '0.0.0.0'): Promise<void> {
  const socket = dgram.createSocket({ type: familyOf(host), ipv6Only: net.isIPv6(host) });
  socket.on('message', (message, peer) => {
    const seen: Seen = { name, address: peer.address, port: peer.port };
    socket.send(JSON.stringify(seen).padEnd(message.length), peer.port, peer.address);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, host, resolve);
  });
}

/** Binds a socket (TCP: and listens), and closes it again: `bound`, or the code of the refusal. */
async function bindOnce(protocol: 'tcp' | 'udp', port: number, host: string): Promise<string> {
  try {
    if (protocol === 'tcp') {
      const server = net.createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, resolve);
      });
      await new Promise((resolve) => server.close(resolve));
    } else {
      const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.bind(port, host, resolve);
      });
      socket.close();
    }
    return 'bound';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown';
  }
}

async function askTcp(target: Target): Promise<Seen & { readonly peer: string }> {
  return await new Promise((resolve, reject) => {
    const socket = net.connect({ ...target });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
    }, target.timeoutMs ?? TIMEOUT_MS);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
      if (!text.includes('\n')) return;
      clearTimeout(timer);
      const peer = `${socket.remoteAddress}:${socket.remotePort}`;
      socket.destroy();
      resolve({ ...(JSON.parse(text) as Seen), peer });
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

async function askUdp(target: Target): Promise<Seen & { readonly peer: string; bytes: number }> {
  const socket = dgram.createSocket(familyOf(target.host));
  try {
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
        target.timeoutMs ?? TIMEOUT_MS,
      );
      socket.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      socket.on('message', (message, from) => {
        clearTimeout(timer);
        const seen = JSON.parse(message.toString()) as Seen;
        resolve({ ...seen, peer: `${from.address}:${from.port}`, bytes: message.length });
      });
      socket.bind(target.localPort ?? 0, target.localAddress ?? anyOf(target.host), () => {
        const payload = Buffer.alloc(target.payloadBytes ?? 100, 0x20);
        const sent = (error: Error | null) => error !== null && reject(error);
        if (target.connected !== true) socket.send(payload, target.port, target.host, sent);
        else socket.connect(target.port, target.host, () => socket.send(payload, sent));
      });
    });
  } finally {
    socket.close();
  }
}

/** Sends datagrams from a connected socket until an error comes back; its code, or `silence`. */
async function probeUdp(host: string, port: number, localAddress?: string): Promise<string> {
  const socket = dgram.createSocket(familyOf(host));
  try {
    await new Promise<void>((resolve) => socket.bind(0, localAddress, resolve));
    await new Promise<void>((resolve) => socket.connect(port, host, resolve));
    return await new Promise((resolve) => {
      const timer = setTimeout(() => resolve('silence'), 1000);
      socket.on('error', (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        resolve(error.code ?? error.message);
      });
      socket.send('?');
    });
  } finally {
    socket.close();
  }
}

/** Sends `bytes` to an echo server and counts what comes back. */
async function fetchTcp(host: string, port: number, bytes: number): Promise<number> {
  const socket = net.connect({ host, port });
  return await new Promise((resolve, reject) => {
    let received = 0;
    let greeting = -1;
    const timer = setTimeout(() => {
      socket.destroy();
      resolve(received - greeting);
    }, TIMEOUT_MS);
    socket.on('data', (chunk) => {
      if (greeting < 0) {
        greeting = chunk.indexOf('\n') + 1;
        socket.write(Buffer.alloc(bytes, 0x2e));
      }
      received += chunk.length;
      if (received - greeting < bytes) return;
      clearTimeout(timer);
      socket.destroy();
      resolve(received - greeting);
    });
    socket.on('error', reject);
  });
}

/** Opens a connection and leaves it open; what the server saw. */
async function hold(target: Target): Promise<Seen> {
  const socket = net.connect({ ...target });
  return await new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.once('data', (chunk) => resolve(JSON.parse(chunk.toString()) as Seen));
  });
}

let quiet: net.Socket | undefined;

/** Opens a connection to an echo server on which nothing is sent until `askQuiet`. */
async function openQuiet(target: Target): Promise<Seen> {
  const socket = net.connect({ ...target });
  quiet = socket;
  return await new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.once('data', (chunk) => resolve(JSON.parse(chunk.toString()) as Seen));
  });
}

/** Sends a byte on the quiet connection and waits until it is back. */
async function askQuiet(): Promise<void> {
  const socket = quiet;
  if (socket === undefined) throw new Error('no quiet connection');
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer')), TIMEOUT_MS);
    socket.once('error', reject);
    socket.once('data', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.write('.');
  });
}

/** One connection: waits for the greeting, then ends it as told; resolves once it is closed. */
async function visit(target: Target, ending: Ending): Promise<void> {
  const socket = net.connect({ ...target });
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', () => resolve());
    socket.on('data', () => {
      if (ending === 'reset') socket.resetAndDestroy();
      else if (ending === 'client') socket.end();
    });
  });
}

/** From each port to each target in turn, `rounds` times; gives the number of connections. */
async function visitInTurn(
  targets: readonly Target[],
  firstPort: number,
  ports: number,
  rounds: number,
  ending: Ending,
): Promise<number> {
  let visits = 0;
  for (let round = 0; round < rounds; round++)
    for (let localPort = firstPort; localPort < firstPort + ports; localPort++)
      for (const target of targets) {
        await visit({ ...target, localPort }, ending);
        visits += 1;
      }
  return visits;
}

/** Sends one datagram with raw bytes, given as hex. */
async function sendUdp(host: string, port: number, hex: string): Promise<void> {
  const socket = dgram.createSocket(familyOf(host));
  await new Promise<void>((resolve, reject) => {
    socket.send(Buffer.from(hex, 'hex'), port, host, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  socket.close();
}

/** Opens one connection and keeps a byte going round on it. */
async function startStream(target: Target): Promise<Seen> {
  const socket = net.connect({ ...target });
  const state: NonNullable<typeof stream> = { socket, answered: 0, failure: undefined };
  stream = state;
  return await new Promise<Seen>((resolve, reject) => {
    let greeted = false;
    socket.on('data', (chunk) => {
      if (!greeted) {
        greeted = true;
        resolve(JSON.parse(chunk.toString()) as Seen);
      } else {
        state.answered += 1;
      }
      setTimeout(() => socket.write('.'), REFRESH_MS);
    });
    socket.on('error', (error) => {
      state.failure = error.message;
      reject(error);
    });
    socket.on('end', () => {
      state.failure = 'ended by the peer';
    });
  });
}

function tally(): Tally {
  return { answered: stream?.answered ?? 0, failure: stream?.failure };
}

function stopStream(): Tally {
  const result = tally();
  stream?.socket.destroy();
  stream = undefined;
  return result;
}

async function open(
  options: DatapathOptions & { readonly forceClsact?: boolean },
): Promise<number> {
  datapath = await openDatapath(options);
  return datapath.containerMtu;
}

/** Calls a method of the data path; maps become plain objects, since IPC carries JSON only. */
function callDatapath(method: string, args: readonly unknown[]): unknown {
  if (datapath === undefined) throw new Error('no data path is open');
  if (method === 'readTrace') {
    // Messages between processes are JSON: no 64-bit numbers.
    const { rows, lost } = datapath.readTrace();
    return { rows: rows.map((row) => ({ ...row, timeNs: Number(row.timeNs) })), lost };
  }
  const target = datapath as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
  const result = target[method]?.(...args);
  if (result instanceof Map) return Object.fromEntries(result);
  if (method === 'counters') {
    return Object.fromEntries(
      datapath.counters().map((row) => [row.reason, Number(row.packets)] as const),
    );
  }
  return result;
}

/** Calls a method of the data path; how long it took, in microseconds. */
function timeDatapath(method: string, args: readonly unknown[]): number {
  const began = process.hrtime.bigint();
  callDatapath(method, args);
  return Number(process.hrtime.bigint() - began) / 1000;
}

function testRun(program: string, packet: readonly number[], interfaceIndex: number): unknown {
  const result = datapath?.testRun(program, Uint8Array.from(packet), interfaceIndex);
  return { verdict: result?.verdict, packet: [...(result?.packet ?? [])] };
}

/** Verdicts of many frames (base64); null where the kernel's test run refuses a frame. */
function testRuns(
  program: string,
  frames: readonly string[],
  interfaceIndex: number,
): readonly (number | null)[] {
  return frames.map((frame) => {
    try {
      const packet = Buffer.from(frame, 'base64');
      return datapath?.testRun(program, packet, interfaceIndex).verdict ?? null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EINVAL') return null;
      throw error;
    }
  });
}

/**
 * Runs a program on many first packets, each of another client address below `packet.source` (a
 * network `a.b.0.0`) and port. Gives how many were forwarded.
 */
function flood(program: string, packet: Ipv4Packet, interfaceIndex: number, count: number): number {
  let forwarded = 0;
  for (let index = 0; index < count; index += 1) {
    const source = packet.source.replace(/0\.0$/, `${(index >> 8) & 0xff}.${index & 0xff}`);
    const frame = ipv4Frame({ ...packet, source, sourcePort: 1024 + (index % 60_000) });
    const result = datapath?.testRun(program, Uint8Array.from(frame), interfaceIndex);
    if (result?.verdict === TC_REDIRECT) forwarded += 1;
  }
  return forwarded;
}

async function openEncryption(options: EncryptionOptions): Promise<void> {
  if (datapath === undefined) throw new Error('no data path is open');
  encryption = await EncryptionAgent.open(options, datapath);
}

/** Calls a method of the node's encryption. */
async function callEncryption(method: string, args: readonly unknown[]): Promise<unknown> {
  const target = encryption as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
  return await target[method]?.(...args);
}

function openSelfTest(ownId: string, peers: readonly PathPeer[]): void {
  if (datapath === undefined) throw new Error('no data path is open');
  selfTest = new SelfTestAgent(datapath, ownId, peers);
}

function openUnderlay(ownAddress: string): void {
  if (datapath === undefined) throw new Error('no data path is open');
  underlay = new UnderlayAgent(datapath, ownAddress);
}

function openDirect(ownId: string, peers: readonly PathPeer[]): void {
  if (datapath === undefined) throw new Error('no data path is open');
  direct = new DirectAgent(datapath, ownId, peers);
}

/** Awaits probes with these nonces, in hexadecimal. */
function awaitProbes(nonces: readonly string[]): void {
  datapath?.awaitDirectProbes(nonces.map((nonce) => Buffer.from(nonce, 'hex')));
}

/** Lengths of the probes that came, by nonce. */
function probesSeen(): Readonly<Record<string, number>> {
  const rows = datapath?.directProbes() ?? [];
  return Object.fromEntries(
    rows.map(({ nonce, bytes }) => [Buffer.from(nonce).toString('hex'), bytes]),
  );
}

const CALLS: Readonly<Record<string, (...args: never[]) => unknown>> = {
  testRuns,
  serveTcp,
  serveUdp,
  askTcp,
  askUdp,
  sendUdp,
  bindOnce,
  probeUdp,
  fetchTcp,
  hold,
  openQuiet,
  askQuiet,
  flood,
  serveFarewell,
  visitInTurn,
  startStream,
  stopStream,
  tally,
  open,
  datapath: callDatapath,
  timeDatapath,
  testRun,
  openEncryption,
  encryption: callEncryption,
  openSelfTest,
  paths: () => selfTest?.report(),
  openUnderlay,
  followUnderlay: (tunnels: readonly string[]) => underlay?.follow(tunnels),
  lookAtUnderlay: () => underlay?.look(),
  containerMtu: () => datapath?.containerMtu,
  openDirect,
  awaitProbes,
  probesSeen,
  direct: () => direct?.report(),
  usesTcx: () => datapath?.usesTcx,
  renewedMaps: () => datapath?.renewedMaps,
  setName: (value: string) => {
    name = value;
  },
};

async function answer(request: Request): Promise<void> {
  try {
    const call = CALLS[request.call] as ((...args: readonly unknown[]) => unknown) | undefined;
    if (call === undefined) throw new Error(`no such call: ${request.call}`);
    const result: unknown = await call(...request.args);
    process.send?.({ id: request.id, result });
  } catch (error) {
    const failure = error as NodeJS.ErrnoException;
    process.send?.({ id: request.id, error: { message: failure.message, code: failure.code } });
  }
}

process.on('message', (message) => {
  void answer(message as Request);
});
process.on('disconnect', () => process.exit(0));
process.send?.({ id: 0 });
