/** The flag that streams wait on: no change is missed, nothing is left behind. */
import { getEventListeners } from 'node:events';
import t from 'tap';
import { WakeFlag } from '../../src/rpc/wake-flag.js';

void t.test('a change before, during and between waits wakes once', async (t) => {
  const flag = new WakeFlag();
  const abort = new AbortController();
  flag.set();
  flag.set();
  t.equal(await flag.wait(abort.signal), true, 'set before the wait');
  let woken = 0;
  const waiting = flag.wait(abort.signal).then((result) => {
    woken++;
    return result;
  });
  await Promise.resolve();
  t.equal(woken, 0, 'many sets before were one');
  flag.set();
  t.equal(await waiting, true);
  t.equal(getEventListeners(abort.signal, 'abort').length, 0, 'no listener stays');
});

void t.test('an abort ends the wait, also one that came first or with a change', async (t) => {
  const flag = new WakeFlag();
  const abort = new AbortController();
  const waiting = flag.wait(abort.signal);
  abort.abort();
  t.equal(await waiting, false);
  t.equal(await flag.wait(abort.signal), false);
  flag.set();
  t.equal(await flag.wait(abort.signal), false);
  t.equal(getEventListeners(abort.signal, 'abort').length, 0);
});
