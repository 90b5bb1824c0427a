/** `skep import` from one swarm into another, both managers of ours behind their sockets. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { startApi } from '../api/support/api-fixture.js';
import { takeOver } from './support/take-over.js';

/** An API of ours before an engine that has nothing. */
async function startOurs(t: Test): Promise<string> {
  const folder = mkdtempSync(path.join(tmpdir(), 'skep-import-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const engine = createServer((request, response) => {
    const isList = /^\/networks(\?|$)/.test(request.url ?? '');
    response.statusCode = isList ? 200 : 404;
    response.end(isList ? '[]' : '{"message":"not here"}');
  });
  const engineSocket = path.join(folder, 'engine.sock');
  await new Promise<void>((resolve) => engine.listen(engineSocket, resolve));
  t.teardown(() => engine.close());
  return (await startApi(t, engineSocket)).socketPath;
}

void t.test('everything of another swarm of ours', async (t) => {
  const [old, here] = [await startOurs(t), await startOurs(t)];
  await takeOver(t, old, here);
});
