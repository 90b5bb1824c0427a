/** Bytes that no client of good will sends: refused, and the server goes on serving. */
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { ApiServer } from '../../src/api/server.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { initSwarm, startApi } from './support/api-fixture.js';
import { exchange, jsonRequest, openSocket, parseAnswer } from './support/raw-http.js';
import { TestMembership } from './support/test-membership.js';

void t.test('malformed requests are refused without a crash', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const cases: readonly (readonly [string, string | Buffer, number])[] = [
    ['garbage', Buffer.from([0, 255, 1, 254, 13, 10, 13, 10]), 400],
    ['TLS hello', Buffer.from('16030100c8010000c40303', 'hex'), 400],
    ['unknown version', 'GET /services HTTP/7.7\r\n\r\n', 400],
    ['oversized head', `GET /services HTTP/1.1\r\nX: ${'a'.repeat(1_100_000)}\r\n\r\n`, 431],
    ['oversized body', jsonRequest('POST', '/services/create', 'x'.repeat(5_000_000)), 413],
    ['bad length', 'POST /services/create HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n', 400],
    [
      'length and chunks',
      'POST /services/create HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['not JSON', jsonRequest('POST', '/services/create', '{"Name":'), 400],
    ['deep JSON', jsonRequest('POST', '/services/create', '['.repeat(200_000)), 400],
    ['wrong types', jsonRequest('POST', '/services/create', '{"TaskTemplate":[1]}'), 400],
    ['prototype keys', jsonRequest('POST', '/secrets/create', '{"__proto__":{"Name":"x"}}'), 400],
    ['bad percent', jsonRequest('GET', '/services/%zz'), 503],
    ['bad filters', jsonRequest('GET', '/services?filters=%7B'), 400],
    ['bad version', jsonRequest('POST', '/services/x/update?version=-1', '{}'), 400],
    ['bad flag', jsonRequest('GET', '/services?status=maybe'), 400],
    ['too new', jsonRequest('GET', '/v9.99/services'), 400],
    ['too old', jsonRequest('GET', '/v1.2/services'), 400],
  ];
  for (const [name, bytes, status] of cases) {
    t.equal(parseAnswer(await exchange(api.socketPath, bytes)).status, status, name);
  }
  const alive = parseAnswer(await exchange(api.socketPath, jsonRequest('GET', '/services')));
  t.same(alive, { status: 200, body: '[]' });
});

void t.test('requests cut off in the middle leave nothing behind', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const whole = jsonRequest('POST', '/secrets/create', '{"Name":"cut","Data":"eA=="}');
  for (let length = 1; length < whole.length; length += 7) {
    const socket = await openSocket(api.socketPath);
    socket.end(whole.slice(0, length));
    socket.destroy();
  }
  const alive = parseAnswer(await exchange(api.socketPath, jsonRequest('GET', '/secrets')));
  t.same(alive, { status: 200, body: '[]' });
});

void t.test('upgrades where none is possible', async (t) => {
  const api = await startApi(t);
  await initSwarm(api);
  const upgrade = (request: string) =>
    `${request} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`;
  const ask = async (request: string) =>
    parseAnswer(await exchange(api.socketPath, upgrade(request)));
  t.equal((await ask('GET /services')).status, 200, 'the wish is ignored on our routes');
  t.equal((await ask('POST /services/create')).status, 400);
  const answer = await ask('POST /session');
  t.equal(answer.status, 503, 'no engine');
  t.match(answer.body, /Cannot connect to the Docker Engine at unix:.*ENOENT/);
});

void t.test('without an engine the swarm routes still answer', async (t) => {
  const api = await startApi(t);
  const get = async (target: string) =>
    parseAnswer(await exchange(api.socketPath, jsonRequest('GET', target)));
  t.match(await get('/nodes'), { status: 503, body: /This node is not a swarm manager/ });
  await initSwarm(api);
  t.equal((await get('/nodes')).status, 200);
  t.match(await get('/containers/json'), { status: 503, body: /Cannot connect to the Docker/ });
  t.match(await get('/info'), { status: 503, body: /Cannot connect to the Docker/ });
  t.match(await get('/events'), { status: 503, body: /Cannot connect to the Docker/ });
});

void t.test('the socket: permissions, a stale one, one in use, a file in its place', async (t) => {
  const api = await startApi(t);
  t.equal((await stat(api.socketPath)).mode & 0o777, 0o660);
  const another = (socketPath: string) =>
    new ApiServer({
      socketPath,
      engineSocketPath: '/nonexistent',
      membership: new TestMembership('other'),
      logger: silentLogger,
      environment: systemEnvironment,
    });
  await t.rejects(another(api.socketPath).start(), /another process already serves/);
  const file = path.join(api.folder, 'file');
  await writeFile(file, '');
  await t.rejects(another(file).start(), /exists and is not a socket/);
  await api.server.stop();
  await api.server.stop();
  const next = another(api.socketPath);
  await next.start();
  await next.start();
  await next.stop();
});
