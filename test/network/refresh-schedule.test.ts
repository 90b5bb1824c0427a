/** When comparisons are made, in virtual time. */
import t from 'tap';
import type { Clock } from '../../src/model/environment.js';
import {
  RECONCILE_BUSY_DELAY_MS,
  RECONCILE_BUSY_MS,
  RECONCILE_DELAY_MS,
} from '../../src/network/limits.js';
import { RefreshSchedule } from '../../src/network/refresh-schedule.js';
import { settlePromises, SimulatedClock } from '../support/simulated-environment.js';

/** A schedule whose comparisons take `costMs` each, and when they began. */
function schedule(costMs = 0) {
  const time = new SimulatedClock();
  let workedMs = 0;
  // Work takes time on the clock without letting timers fire in the middle of it.
  const clock: Clock = {
    nowMs: () => time.nowMs() + workedMs,
    monotonicMs: () => time.monotonicMs() + workedMs,
    setTimer: (delayMs, callback) => time.setTimer(delayMs, callback),
  };
  const passesMs: number[] = [];
  const refresh = () => {
    passesMs.push(time.monotonicMs());
    workedMs += costMs;
  };
  const refreshes = new RefreshSchedule({ clock, refresh, applied: () => Promise.resolve() });
  return { time, refreshes, passesMs };
}

void t.test('many changes make one comparison, soon after the first', async (t) => {
  const { time, refreshes, passesMs } = schedule();
  refreshes.soon();
  time.advance(1000);
  t.strictSame(passesMs, [], 'none before the start');
  refreshes.start();
  for (let change = 0; change < 100; change++) refreshes.soon();
  time.advance(1000);
  t.strictSame(passesMs, [1000 + RECONCILE_DELAY_MS]);
  refreshes.now();
  t.equal(passesMs.length, 2, 'at once where it must be');
});

void t.test('where one change follows the other, more of them share a comparison', async (t) => {
  const { time, refreshes, passesMs } = schedule();
  refreshes.start();
  refreshes.soon();
  time.advance(RECONCILE_DELAY_MS);
  t.equal(passesMs.length, 1);
  refreshes.soon();
  time.advance(RECONCILE_DELAY_MS);
  t.equal(passesMs.length, 1, 'the second waits for more');
  time.advance(RECONCILE_BUSY_DELAY_MS - RECONCILE_DELAY_MS);
  t.equal(passesMs.length, 2);
  time.advance(RECONCILE_BUSY_MS);
  refreshes.soon();
  time.advance(RECONCILE_DELAY_MS);
  t.equal(passesMs.length, 3, 'a single one later does not');
});

void t.test('whoever waits is told after a comparison that began later', async (t) => {
  const { time, refreshes, passesMs } = schedule();
  refreshes.start();
  const told: string[] = [];
  void refreshes.next().then(() => told.push('a'));
  void refreshes.next().then(() => told.push('b'));
  await settlePromises();
  t.strictSame(told, []);
  time.advance(RECONCILE_DELAY_MS);
  await settlePromises();
  t.strictSame(told, ['a', 'b']);
  t.equal(passesMs.length, 1, 'one for both');
});

void t.test('comparisons take no more than a third of the time', async (t) => {
  const { time, refreshes, passesMs } = schedule(500);
  refreshes.start();
  refreshes.now();
  refreshes.soon();
  time.advance(999);
  t.equal(passesMs.length, 1);
  time.advance(1);
  t.equal(passesMs.length, 2);
});

void t.test('an end cancels what is due, and nobody waits on', async (t) => {
  const { time, refreshes, passesMs } = schedule();
  refreshes.start();
  let isTold = false;
  void refreshes.next().then(() => {
    isTold = true;
  });
  refreshes.stop();
  await settlePromises();
  t.ok(isTold);
  time.advance(1000);
  refreshes.now();
  t.strictSame(passesMs, []);
  await refreshes.next();
});
