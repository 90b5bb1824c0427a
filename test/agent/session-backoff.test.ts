/** When an agent calls again, beside SwarmKit's own rule. */
import t from 'tap';
import { SessionBackoff } from '../../src/agent/session-backoff.js';
import {
  parseReconnectSpread,
  RECONNECT_SPREAD_MS_MAX,
  RECONNECTS_PER_SECOND,
  reconnectSpreadMs,
} from '../../src/model/reconnect.js';

/** Always the longest pause. */
const longest = { next: () => 1, bytes: (length: number) => new Uint8Array(length) };

void t.test('small swarms follow SwarmKit: 100 ms, doubling to 8 s, anew after a session', (t) => {
  const backoff = new SessionBackoff(longest);
  const pauses = Array.from({ length: 9 }, () => backoff.nextMs(0));
  t.same(pauses, [100, 300, 700, 1500, 3100, 6300, 8000, 8000, 8000]);
  backoff.reset();
  t.equal(backoff.nextMs(0), 100);
  t.end();
});

void t.test('in large ones the first pause is as long as a manager needs for all', (t) => {
  const backoff = new SessionBackoff(longest);
  t.equal(backoff.nextMs(40_000), 40_000);
  t.equal(backoff.nextMs(2000), 2000);
  t.equal(backoff.nextMs(0), 700, 'the backoff itself goes on as ever');
  t.end();
});

void t.test('the spread grows with the nodes, and what is told of it is bounded', (t) => {
  t.equal(reconnectSpreadMs(3), 0);
  t.equal(reconnectSpreadMs(RECONNECTS_PER_SECOND), 0);
  t.equal(reconnectSpreadMs(1000), 4000);
  t.equal(reconnectSpreadMs(10_000), 40_000);
  t.equal(reconnectSpreadMs(10_001), 41_000);
  t.equal(reconnectSpreadMs(1_000_000), RECONNECT_SPREAD_MS_MAX);
  t.equal(parseReconnectSpread(String(reconnectSpreadMs(10_000))), 40_000);
  t.equal(parseReconnectSpread('1e12'), RECONNECT_SPREAD_MS_MAX);
  for (const text of [undefined, '', '-1', 'soon', 'Infinity', 'NaN'])
    t.equal(parseReconnectSpread(text), 0, String(text));
  t.end();
});
