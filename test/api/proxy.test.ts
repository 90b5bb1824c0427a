/** The reverse proxy against a scripted engine: nothing buffered, ends and aborts carried over. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createRawServer } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { startApi } from './support/api-fixture.js';
import { openSocket, readToEnd, readUntil } from './support/raw-http.js';

async function enginePath(t: Test): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'skep-api-engine-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return path.join(folder, 'engine.sock');
}

/** An engine that answers with `handler`. */
async function scriptedEngine(
  t: Test,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const socketPath = await enginePath(t);
  const server = createServer(handler).listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return socketPath;
}

void t.test('head and chunks pass as they come', async (t) => {
  let answer: ServerResponse | undefined;
  const engine = await scriptedEngine(t, (_request, response) => {
    answer = response;
    response.writeHead(200, 'Fine', { 'X-Odd-Case': 'Yes', 'Content-Type': 'x/y' });
    response.flushHeaders();
  });
  const api = await startApi(t, engine);
  const client = await openSocket(api.socketPath);
  client.write('GET /containers/x/logs?follow=1 HTTP/1.1\r\nHost: d\r\n\r\n');
  const head = await readUntil(client, '\r\n\r\n');
  t.match(head, /^HTTP\/1.1 200 Fine\r\nX-Odd-Case: Yes\r\nContent-Type: x\/y\r\n/);
  answer?.write('first');
  t.match(await readUntil(client, 'first'), /first/);
  answer?.end('second');
  t.match(await readUntil(client, '0\r\n\r\n'), /second/);
  client.destroy();
});

void t.test('a request body streams before it is complete', async (t) => {
  const seen: string[] = [];
  const engine = await scriptedEngine(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${String(request.headers['x-registry-auth'])}`);
    request.on('data', (chunk: Buffer) => {
      seen.push(chunk.toString());
      if (chunk.toString() === 'one') response.write('got one;');
    });
    request.on('end', () => response.end('end'));
  });
  const api = await startApi(t, engine);
  const client = await openSocket(api.socketPath);
  client.write(
    'POST /v1.41/build?t=x%2Fy HTTP/1.1\r\nHost: d\r\nX-Registry-Auth: abc\r\n' +
      'Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n',
  );
  await readUntil(client, 'got one;');
  client.write('3\r\ntwo\r\n0\r\n\r\n');
  await readUntil(client, '0\r\n\r\n');
  client.destroy();
  t.same(seen, ['POST /v1.41/build?t=x%2Fy abc', 'one', 'two']);
});

void t.test('a client that goes away ends the request at the engine', async (t) => {
  let gone: Promise<unknown> | undefined;
  const engine = await scriptedEngine(t, (_request, response) => {
    gone = once(response, 'close');
    response.write('x');
  });
  const api = await startApi(t, engine);
  const client = await openSocket(api.socketPath);
  client.write('GET /containers/x/logs?follow=1 HTTP/1.1\r\nHost: d\r\n\r\n');
  await readUntil(client, '\r\n\r\n');
  client.destroy();
  await gone;
  t.pass('closed');
});

void t.test('an engine that dies in the middle of an answer cuts it off', async (t) => {
  const engine = await scriptedEngine(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': 100 });
    response.write('part', () => response.destroy());
  });
  const api = await startApi(t, engine);
  const client = await openSocket(api.socketPath);
  client.write('GET /images/json HTTP/1.1\r\nHost: d\r\n\r\n');
  t.match(await readToEnd(client), /part$/);
});

void t.test('upgraded connections are joined byte for byte, half-closed ones too', async (t) => {
  const socketPath = await enginePath(t);
  const requests: string[] = [];
  const server = createRawServer({ allowHalfOpen: true }, (socket) => {
    let received = '';
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      if (requests.length === 0 && received.includes('\r\n\r\n')) {
        requests.push(received);
        socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello');
      }
    });
    // The output goes on after the end of the input, as a container's does.
    socket.once('end', () => socket.end(`input was ${received.split('\r\n\r\n')[1]}`));
  }).listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const api = await startApi(t, socketPath);
  const client = await openSocket(api.socketPath);
  client.write(
    'POST /v1.41/containers/x/attach?stdin=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n' +
      'Upgrade: tcp\r\n\r\nearly ',
  );
  await readUntil(client, 'hello');
  client.end('late');
  t.equal(await readToEnd(client), 'input was early late');
  t.match(requests[0], /Connection: Upgrade, close\r\nUpgrade: tcp/);
});

void t.test('stopping the server ends upgraded connections', async (t) => {
  const socketPath = await enginePath(t);
  const server = createRawServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.write('HTTP/1.1 101 UPGRADED\r\n\r\n'));
  }).listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => server.close());
  const api = await startApi(t, socketPath);
  const client = await openSocket(api.socketPath);
  client.write('POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
  await readUntil(client, '101');
  const ended = readToEnd(client);
  await api.server.stop();
  await ended;
  t.pass('closed');
});
