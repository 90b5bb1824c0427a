/** A leader whose process stood still, under a virtual clock. */
import t from 'tap';
import { StandstillWatch } from '../../../src/manager/dispatcher/standstill.js';
import { STANDSTILL_LOOK_MS } from '../../../src/manager/dispatcher/constants.js';
import { SimulatedClock } from '../../support/simulated-environment.js';

void t.test('a clock that jumped is noticed, a little delay is not', (t) => {
  const clock = new SimulatedClock();
  let lateMs = 0;
  // Timers of a process that stands still fire when it runs again.
  const halted = {
    nowMs: () => clock.nowMs(),
    monotonicMs: () => clock.monotonicMs() + lateMs,
    setTimer: (delayMs: number, callback: () => void) => clock.setTimer(delayMs, callback),
  };
  const stoodStill: number[] = [];
  const watch = new StandstillWatch(halted, (durationMs) => stoodStill.push(durationMs));
  clock.advance(10 * STANDSTILL_LOOK_MS);
  lateMs += 500;
  clock.advance(10 * STANDSTILL_LOOK_MS);
  t.same(stoodStill, []);
  lateMs += 7000;
  clock.advance(10 * STANDSTILL_LOOK_MS);
  t.same(stoodStill, [7000], 'once');
  watch.stop();
  t.equal(clock.pendingTimers, 0);
  t.end();
});
