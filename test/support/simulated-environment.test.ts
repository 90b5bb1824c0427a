/** The simulator's own clock and generator. */
import t from 'tap';
import { SeededRandom, simulatedEnvironment } from './simulated-environment.js';

void t.test('timers fire in order of time, then of creation, at their own time', async (t) => {
  const { clock, random } = simulatedEnvironment(1);
  const fired: [number, number][] = [];
  const expected: [number, number][] = [];
  for (let index = 0; index < 500; index++) {
    const delayMs = random.integer(0, 50);
    expected.push([delayMs, index]);
    clock.setTimer(delayMs, () => fired.push([clock.monotonicMs(), index]));
  }
  clock.advance(1000);
  expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  t.same(fired, expected);
  t.equal(clock.monotonicMs(), 1000);
  t.equal(clock.pendingTimers, 0);
});

void t.test('a cancelled timer does not fire, and cancel is idempotent', async (t) => {
  const { clock } = simulatedEnvironment(1);
  let fired = 0;
  const timer = clock.setTimer(5, () => fired++);
  clock.setTimer(5, () => fired++);
  timer.cancel();
  timer.cancel();
  t.equal(clock.pendingTimers, 1);
  clock.advance(10);
  timer.cancel();
  t.equal(fired, 1);
  t.equal(clock.pendingTimers, 0);
});

void t.test('timers set by timers fire within the same advance; async ones settle', async (t) => {
  const { clock } = simulatedEnvironment(1);
  const times: number[] = [];
  const again = (): void => {
    times.push(clock.monotonicMs());
    void Promise.resolve().then(() => clock.setTimer(3, again));
  };
  clock.setTimer(3, again);
  await clock.advanceAsync(10);
  t.same(times, [3, 6, 9]);
});

void t.test('the same seed gives the same numbers, another seed others', async (t) => {
  const numbers = (seed: number): number[] => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 20 }, () => random.next());
  };
  t.same(numbers(7), numbers(7));
  t.not(numbers(7)[0], numbers(8)[0]);
  t.ok(numbers(7).every((value) => value >= 0 && value < 1));
  t.same(
    new SeededRandom(3).shuffle([1, 2, 3, 4]).sort((a, b) => a - b),
    [1, 2, 3, 4],
  );
});
