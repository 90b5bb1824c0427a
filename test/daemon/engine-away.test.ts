/** A node whose engine does not answer yet tries again; a damaged one does not. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import Docker from 'dockerode';
import t from 'tap';
import { mayPass } from '../../src/daemon/swarm-errors.js';
import { SkepError } from '../../src/model/errors.js';

void t.test('an engine that is away may be back', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'skep-away-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = path.join(folder, 'engine.sock');
  const failure = async (work: () => Promise<unknown>): Promise<unknown> =>
    work().then(
      () => undefined,
      (error: unknown) => error,
    );
  const ask = async () => failure(() => new Docker({ socketPath }).listNetworks());
  t.equal(mayPass(await ask()), true, 'no socket');
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const reset = await ask();
  t.equal(mayPass(reset), true, String(reset));
  t.equal(mayPass(new SkepError('unknown', 'x', { cause: reset })), true);
  await new Promise((resolve) => server.close(resolve));
  const refused = await failure(() => new Docker({ host: '127.0.0.1', port: 1 }).listNetworks());
  t.equal(mayPass(refused), true, String(refused));
  t.equal(mayPass(await failure(() => readFile(path.join(folder, 'none')))), false);
  t.equal(mayPass(new SkepError('data_loss', 'x')), false);
  t.equal(mayPass(new SkepError('failed_precondition', 'x')), true);
});
