/** Pings of an HTTP/2 connection: real connections, virtual time. */
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { keepAlive, silenceAllowedMs } from '../../src/rpc/keepalive.js';
import { SimulatedClock } from '../support/simulated-environment.js';

void t.test('the silence allowed grows with the peers, so that pings a second do not', (t) => {
  t.equal(silenceAllowedMs(1), 5_000);
  t.equal(silenceAllowedMs(1_250), 5_000);
  t.equal(silenceAllowedMs(10_000), 40_000);
  for (const peers of [2_000, 5_000, 10_000, 20_000])
    t.ok(peers / (silenceAllowedMs(peers) / 1000) <= 250, `${peers} peers`);
  t.end();
});

void t.test('the interval is the one of the moment', async (t) => {
  const server = http2.createServer();
  const seen = { pings: 0 };
  server.on('session', (session) => session.on('ping', () => seen.pings++));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.teardown(() => {
    client.destroy();
    server.close();
  });
  await once(client, 'remoteSettings');
  const clock = new SimulatedClock();
  let intervalMs = 5_000;
  keepAlive(client, clock, { intervalMs: () => intervalMs, timeoutMs: 1_000_000 });
  /** Advances until so many pings have arrived in all. */
  const untilPings = async (count: number, stepMs: number): Promise<number> => {
    const beganMs = clock.monotonicMs();
    while (seen.pings < count) {
      clock.advance(stepMs);
      for (let round = 0; round < 50 && seen.pings < count; round++) await turn();
    }
    return clock.monotonicMs() - beganMs;
  };
  // What was said while the connection came up counts once.
  await untilPings(1, 5_000);
  intervalMs = 40_000;
  // The answer to the first ping is on its way: the next wait begins with it.
  await untilPings(2, 5_000);
  const before = seen.pings;
  t.ok((await untilPings(before + 1, 1_000)) >= 40_000, 'silence is allowed for longer now');
  t.notOk(client.destroyed);
});
