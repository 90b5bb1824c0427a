/**
 * Looks at every packet in a network namespace, as somebody on the wire would, for a text that must
 * not be there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Actor } from './world.js';

/** Reads an AF_PACKET socket until standard input ends, then says what it saw. */
const WATCHER = `
import json, select, socket, struct, sys
marker = sys.argv[1].encode()
packets = hits = 0
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
print('ready', flush=True)
while True:
    ready, _, _ = select.select([wire, sys.stdin], [], [])
    if wire in ready:
        packets += 1
        if marker in wire.recv(1 << 17):
            hits += 1
    elif sys.stdin in ready:
        break
_, lost = struct.unpack('II', wire.getsockopt(263, 6, 8))
print(json.dumps({'packets': packets, 'hits': hits, 'lost': lost}), flush=True)
`;

/** What was seen. */
export interface Captured {
  readonly packets: number;
  /** Packets with the text in them. */
  readonly hits: number;
  /** Packets the kernel had no room for. */
  readonly lost: number;
}

/** A watch in a network namespace: an actor's, or that of a path. */
class Capture {
  private readonly child: ChildProcess;
  private output = '';

  private constructor(child: ChildProcess) {
    this.child = child;
  }

  /** Resolves once every packet is seen. */
  static async start(where: Actor | string, marker: string): Promise<Capture> {
    const namespace = typeof where === 'string' ? where : `/proc/${where.pid}/ns/net`;
    const enter = [`--net=${namespace}`, '--', 'python3', '-c', WATCHER, marker];
    const child = spawn('nsenter', enter, { stdio: ['pipe', 'pipe', 'inherit'] });
    const capture = new Capture(child);
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', () => reject(new Error('the watcher has ended')));
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        capture.output += chunk;
        if (capture.output.includes('ready\n')) resolve();
      });
    });
    return capture;
  }

  async stop(): Promise<Captured> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.stdin?.end();
    await ended;
    return JSON.parse(this.output.replace('ready\n', '')) as Captured;
  }
}

/** What was on the wire while `work` ran; the watch ends also when that fails. */
export async function watched(
  where: Actor | string,
  marker: string,
  work: () => Promise<void>,
): Promise<Captured> {
  const capture = await Capture.start(where, marker);
  let seen: Captured;
  try {
    await work();
    // What is still on its way.
    await new Promise((resolve) => setTimeout(resolve, 100));
  } finally {
    seen = await capture.stop();
  }
  return seen;
}
