/**
 * Pull rules against a small HTTP server that plays the engine's image routes: what is asked for,
 * how long a silent registry may hold up a start, how often it is asked again.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Docker from 'dockerode';
import t, { type Test } from 'tap';
import { EngineClient } from '../../src/agent/engine-client.js';
import { ImagePuller, isImageId, isPinned, withDefaultTag } from '../../src/agent/image-puller.js';
import { silentLogger } from '../../src/observe/logger.js';
import { waitFor } from '../testbed/commands.js';
import { settlePromises, simulatedEnvironment } from '../support/simulated-environment.js';

type PullAnswer = 'silence' | 'error' | 'done';

/** Counts the answers to its looks for images. */
class CountingClient extends EngineClient {
  looked = 0;

  override async image(reference: string): ReturnType<EngineClient['image']> {
    const found = await super.image(reference);
    this.looked += 1;
    return found;
  }
}

async function imageEngine(
  t: Test,
  options: { local: boolean; answer: PullAnswer; accepts?: string },
) {
  const directory = mkdtempSync(join(tmpdir(), 'skep-puller-'));
  const socketPath = join(directory, 'sock');
  const pulls: { image: string; auth: string }[] = [];
  let cancelled = 0;
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://engine');
    if (url.pathname !== '/images/create') {
      response.writeHead(options.local ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ Id: 'x', RepoDigests: [], message: 'No such image' }));
      return;
    }
    const auth = request.headers['x-registry-auth'];
    pulls.push({
      image: url.searchParams.get('fromImage') ?? '',
      auth: typeof auth === 'string' ? auth : '',
    });
    response.on('close', () => {
      if (!response.writableFinished) cancelled += 1;
    });
    response.writeHead(200);
    response.flushHeaders();
    const isKnown = options.accepts !== undefined && auth === options.accepts;
    if (options.answer === 'done' || isKnown) response.end('{"status":"ok"}\n');
    else if (options.answer === 'error')
      response.end('{"status":"x"}\n{"error":"manifest unknown"}\n');
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const { clock } = simulatedEnvironment(1);
  const client = new CountingClient(new Docker({ socketPath }));
  const puller = (preferOffline: boolean, own?: () => Promise<string>): ImagePuller =>
    new ImagePuller(client, clock, silentLogger, preferOffline, own);
  return { pulls, clock, puller, cancelled: () => cancelled, looked: () => client.looked };
}

const signal = new AbortController().signal;

void t.test('kinds of references', async (t) => {
  const digest = `sha256:${'a'.repeat(64)}`;
  t.ok(isImageId(digest));
  t.ok(isImageId('b'.repeat(64)));
  t.ok(isPinned(`web:1@${digest}`));
  t.notOk(isPinned('web:1'));
  t.equal(withDefaultTag('host:5000/web'), 'host:5000/web:latest');
  t.equal(withDefaultTag('web:1'), 'web:1');
  t.equal(withDefaultTag(`web@${digest}`), `web@${digest}`);
});

void t.test(
  'not asked: ids, pinned images here, any image here when offline is preferred',
  async (t) => {
    const { pulls, puller } = await imageEngine(t, { local: true, answer: 'done' });
    await puller(false).ensure('c'.repeat(64), '', signal);
    await puller(false).ensure(`web@sha256:${'a'.repeat(64)}`, '', signal);
    await puller(true).ensure('web', '', signal);
    t.same(pulls, []);
    await puller(false).ensure('web', 'secret', signal);
    t.same(pulls, [{ image: 'web:latest', auth: 'secret' }]);
  },
);

void t.test('equal pulls at one time are one', async (t) => {
  const engine = await imageEngine(t, { local: false, answer: 'silence' });
  const { pulls, puller, clock, looked } = engine;
  const shared = puller(false);
  const all = [1, 2, 3].map(() => shared.ensure('web:1', '', signal));
  await waitFor('the pull, after one look for all', 5_000, async () =>
    pulls.length > 0 && looked() === 1 ? true : undefined,
  );
  await settlePromises();
  clock.advance(60_000);
  await Promise.all(all);
  t.equal(pulls.length, 1);
});

void t.test(
  'a failure is left to the create, and remembered while there is an image',
  async (t) => {
    const { pulls, puller, clock } = await imageEngine(t, { local: true, answer: 'error' });
    const one = puller(false);
    await one.ensure('web:1', '', signal);
    await one.ensure('web:1', '', signal);
    t.equal(pulls.length, 1);
    clock.advance(30_000);
    await one.ensure('web:1', '', signal);
    t.equal(pulls.length, 2);
  },
);

void t.test('a silent registry holds up a start for two seconds only', async (t) => {
  const { pulls, puller, clock, cancelled } = await imageEngine(t, {
    local: true,
    answer: 'silence',
  });
  let done = false;
  const pull = puller(false)
    .ensure('web:1', '', signal)
    .then(() => {
      done = true;
    });
  await waitFor('the pull', 5_000, async () => pulls[0]);
  clock.advance(1_999);
  await settlePromises();
  t.notOk(done);
  clock.advance(1);
  await pull;
  await waitFor('the cancellation', 5_000, async () => cancelled() || undefined);
});

void t.test('why an image that is not here could not be pulled', async (t) => {
  const { puller } = await imageEngine(t, { local: false, answer: 'error' });
  t.equal(await puller(false).ensure('web:1', '', signal), 'manifest unknown');
  const local = await imageEngine(t, { local: true, answer: 'error' });
  t.equal(await local.puller(false).ensure('web:1', '', signal), undefined);
});

void t.test('one task giving up leaves the pull to the others', async (t) => {
  const { pulls, puller, clock } = await imageEngine(t, { local: true, answer: 'silence' });
  const shared = puller(false);
  const quitter = new AbortController();
  const first = shared.ensure('web:1', '', quitter.signal);
  const second = shared.ensure('web:1', '', signal);
  await waitFor('the pull', 5_000, async () => pulls[0]);
  quitter.abort();
  await t.rejects(first, { code: 'canceled' });
  clock.advance(2_000);
  await second;
  t.equal(pulls.length, 1);
});

void t.test('credentials that the registry refuses give way to those of the node', async (t) => {
  const { pulls, puller } = await imageEngine(t, {
    ...{ local: false, answer: 'error', accepts: 'fresh' },
  });
  const ensure = (own: () => Promise<string>) =>
    puller(false, own).ensure('web:1', 'expired', signal);
  t.equal(await ensure(async () => 'fresh'), undefined);
  t.same(
    pulls.map(({ auth }) => auth),
    ['expired', 'fresh'],
  );
  t.equal(await ensure(async () => ''), 'manifest unknown', 'a node without any');
  t.equal(await ensure(async () => Promise.reject(new Error('no'))), 'manifest unknown');
  t.equal(await ensure(async () => 'expired'), 'manifest unknown');
  t.equal(pulls.length, 5, 'the same ones are not tried twice');
});
