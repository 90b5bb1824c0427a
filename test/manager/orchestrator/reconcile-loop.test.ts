/** When the passes of a loop run. */
import t from 'tap';
import { ReconcileLoop } from '../../../src/manager/orchestrator/reconcile-loop.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { simulatedEnvironment } from '../../support/simulated-environment.js';

function makeLoop(pass: () => Promise<void>) {
  const environment = simulatedEnvironment(1);
  const loop = new ReconcileLoop({ environment, logger: silentLogger, pass });
  return { loop, run: (durationMs: number) => environment.clock.advanceAsync(durationMs) };
}

void t.test('triggers before and during a pass are served by one more pass', async (t) => {
  let passes = 0;
  let running = 0;
  let release = (): void => undefined;
  const { loop, run } = makeLoop(async () => {
    passes += 1;
    running += 1;
    t.equal(running, 1, 'never two at a time');
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    running -= 1;
  });
  for (let count = 0; count < 5; count++) loop.trigger();
  await run(0);
  t.equal(passes, 1);
  for (let count = 0; count < 5; count++) loop.trigger();
  release();
  await run(0);
  t.equal(passes, 2);
  const stopped = loop.stop();
  loop.trigger();
  release();
  await stopped;
  await run(1000);
  t.equal(passes, 2, 'none after the stop');
});

void t.test('debounced triggers wait for quiet, but not for ever', async (t) => {
  const { loop, run } = makeLoop(async () => {
    passes += 1;
  });
  let passes = 0;
  const debounce = { quietPeriodMs: 50, maxDelayMs: 200 };
  loop.trigger(debounce);
  await run(49);
  t.equal(passes, 0);
  await run(1);
  t.equal(passes, 1);
  for (let at = 0; at < 190; at += 10) {
    loop.trigger(debounce);
    await run(10);
  }
  t.equal(passes, 1);
  loop.trigger(debounce);
  await run(10);
  t.equal(passes, 2, 'after the longest delay');
  loop.trigger(debounce);
  loop.trigger();
  await run(0);
  t.equal(passes, 3, 'an urgent trigger overtakes');
  await run(1000);
  t.equal(passes, 3);
  await loop.stop();
});

void t.test('a pass that failed is repeated, less and less often', async (t) => {
  let failures = 3;
  let passes = 0;
  const { loop, run } = makeLoop(async () => {
    passes += 1;
    failures -= 1;
    if (failures >= 0) throw new Error('no leader');
  });
  loop.trigger();
  await run(0);
  t.equal(passes, 1);
  await run(100);
  t.equal(passes, 2);
  await run(200);
  t.equal(passes, 3);
  await run(400);
  t.equal(passes, 4);
  await run(10_000);
  t.equal(passes, 4);
  await loop.stop();
});

void t.test('a pass that triggers itself and fails is not repeated in a tight loop', async (t) => {
  let passes = 0;
  const { loop, run } = makeLoop(async () => {
    passes += 1;
    // Were it repeated at once, it would never end.
    if (passes > 50) return;
    loop.trigger();
    await Promise.resolve();
    queueMicrotask(() => loop.trigger());
    throw new Error('no leader');
  });
  loop.trigger();
  await run(0);
  t.equal(passes, 1);
  await run(1000);
  t.equal(passes, 11, 'but soon');
  await loop.stop();
});
