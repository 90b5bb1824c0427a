/**
 * The plugin protocol over a real unix socket: routing, errors as the engine reads them, bounds.
 */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { SkepError } from '../../../src/model/errors.js';
import { PLUGIN_BODY_BYTES_MAX } from '../../../src/network/limits.js';
import type { PluginHandler } from '../../../src/network/plugin/messages.js';
import { PluginServer } from '../../../src/network/plugin/server.js';
import { silentLogger } from '../../../src/observe/logger.js';

const HANDLERS: ReadonlyMap<string, PluginHandler> = new Map<string, PluginHandler>([
  ['/Driver.Echo', (body) => ({ Got: body })],
  [
    '/Driver.Fail',
    () => {
      throw new SkepError('not_found', 'no such thing');
    },
  ],
]);

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

async function post(
  socketPath: string,
  url: string,
  body: string,
  method = 'POST',
): Promise<Reply> {
  return await new Promise((resolve, reject) => {
    const call = request({ socketPath, path: url, method }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}

void t.test('plugin socket', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'skep-plugin-'));
  const socketPath = path.join(directory, 'plugins', 'skep.sock');
  const server = new PluginServer(socketPath, HANDLERS, silentLogger);
  t.teardown(async () => {
    await server.stop();
    await rm(directory, { recursive: true });
  });
  await server.start();

  await t.test('answers', async (t) => {
    t.same(await post(socketPath, '/Driver.Echo', '{"A":1}'), {
      status: 200,
      body: { Got: { A: 1 } },
    });
    t.same(await post(socketPath, '/Driver.Echo', ''), { status: 200, body: { Got: {} } });
    t.same(await post(socketPath, '/Driver.Echo', 'null'), { status: 200, body: { Got: {} } });
    t.same(await post(socketPath, '/Driver.Fail', '{}'), {
      status: 200,
      body: { Err: 'no such thing' },
    });
  });

  await t.test('refuses', async (t) => {
    const status = async (...args: [string, string, string?]) => {
      const reply = await post(socketPath, ...args);
      return reply.status;
    };
    t.equal(await status('/Driver.Nothing', '{}'), 404);
    t.equal(await status('/Driver.Echo', '', 'GET'), 404);
    t.equal(await status('/Driver.Echo', '{"A":'), 400);
    t.equal(await status('/Driver.Echo', '[1]'), 400);
    t.equal(await status('/Driver.Echo', '"text"'), 400);
    const large = JSON.stringify({ A: 'x'.repeat(PLUGIN_BODY_BYTES_MAX) });
    // The server stops reading: its answer may or may not be read before the connection ends.
    const answer = await status('/Driver.Echo', large).catch((error: unknown) => String(error));
    t.match(String(answer), /413|EPIPE|ECONNRESET/);
  });

  await t.test('survives what is not HTTP', async (t) => {
    for (const bytes of ['\0\0\0', 'GET', 'POST / HTTP/1.1\r\nContent-Length: -4\r\n\r\n']) {
      const socket = connect(socketPath);
      socket.on('error', () => undefined);
      socket.end(bytes);
      await new Promise((resolve) => socket.once('close', resolve));
    }
    t.equal((await post(socketPath, '/Driver.Echo', '{}')).status, 200);
  });

  await t.test('only root may talk to it; a second start replaces a dead socket', async (t) => {
    t.equal((await stat(socketPath)).mode & 0o777, 0o600);
    await server.stop();
    await writeFile(socketPath, '');
    await server.start();
    await server.start();
    t.equal((await post(socketPath, '/Driver.Echo', '{}')).status, 200);
  });
});
