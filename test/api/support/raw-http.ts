/** HTTP over a unix socket by hand: what no well-behaved client would send. */
import { connect, type Socket } from 'node:net';

/** Opens a connection. */
export function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      // The peer may reset at any time; reading tells.
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}

/** Sends bytes and returns everything that comes back until the peer closes. */
export async function exchange(path: string, bytes: string | Buffer): Promise<string> {
  const socket = await openSocket(path);
  socket.write(bytes);
  return readToEnd(socket);
}

/** Everything until the peer closes. */
export function readToEnd(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const done = () => {
      socket.destroy();
      resolve(Buffer.concat(chunks).toString('latin1'));
    };
    socket.once('end', done);
    socket.once('close', done);
  });
}

/** Resolves with what was read so far once it contains `text`. */
export function readUntil(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = '';
    const onData = (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      if (!seen.includes(text)) return;
      socket.off('data', onData);
      resolve(seen);
    };
    socket.on('data', onData);
    socket.once('close', () => reject(new Error(`closed before ${text}; had ${seen}`)));
  });
}

/** A request with a JSON body, closing after the answer. */
export function jsonRequest(method: string, target: string, body?: string): string {
  const head = [`${method} ${target} HTTP/1.1`, 'Host: docker', 'Connection: close'];
  if (body !== undefined) {
    head.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`);
  }
  return `${head.join('\r\n')}\r\n\r\n${body ?? ''}`;
}

/** Status code and body of a raw answer without chunking. */
export function parseAnswer(raw: string): { readonly status: number; readonly body: string } {
  const [head = '', ...rest] = raw.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), body: rest.join('\r\n\r\n').trim() };
}
