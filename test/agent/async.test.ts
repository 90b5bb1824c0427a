/** The waiting helpers: nothing is lost, nothing leaks, the gate never lets too many in. */
import t from 'tap';
import { childAbort, Gate, orAborted, sleep, WakeFlag } from '../../src/agent/async.js';
import { MergedQueue } from '../../src/agent/merged-queue.js';
import { settlePromises, simulatedEnvironment } from '../support/simulated-environment.js';

const forever = (): AbortSignal => new AbortController().signal;

void t.test(
  'the gate lets in as many as it says, in order, and forgets who gives up',
  async (t) => {
    const gate = new Gate(2);
    const order: number[] = [];
    const releases: (() => void)[] = [];
    const enter = (id: number, signal = forever()): Promise<void> =>
      gate.run(signal, () => {
        order.push(id);
        return new Promise((resolve) => releases.push(resolve));
      });
    const quitter = new AbortController();
    const all = [enter(1), enter(2)];
    const gone = enter(3, quitter.signal);
    all.push(enter(4));
    await settlePromises();
    t.same(order, [1, 2]);
    quitter.abort();
    await t.rejects(gone, { code: 'canceled' });
    releases[0]?.();
    await settlePromises();
    t.same(order, [1, 2, 4]);
    for (const release of releases) release();
    await settlePromises();
    releases.at(-1)?.();
    await Promise.all(all);
    await t.rejects(
      gate.run(forever(), () => Promise.reject(new Error('broken'))),
      { message: 'broken' },
    );
    t.equal(
      await gate.run(forever(), () => Promise.resolve('in')),
      'in',
      'a failure leaves the gate',
    );
  },
);

void t.test('a wake-up before the wait counts once', async (t) => {
  const flag = new WakeFlag();
  flag.raise();
  flag.raise();
  await flag.wait(forever());
  const abort = new AbortController();
  const second = flag.wait(abort.signal);
  abort.abort();
  await t.rejects(second, { code: 'canceled' });
  const third = flag.wait(forever());
  flag.raise();
  await third;
});

void t.test('sleep and orAborted end with the abort', async (t) => {
  const { clock } = simulatedEnvironment(1);
  const abort = new AbortController();
  const sleeping = sleep(clock, 1000, abort.signal);
  const waiting = orAborted(new Promise(() => undefined), abort.signal);
  abort.abort();
  await t.rejects(sleeping, { code: 'canceled' });
  await t.rejects(waiting, { code: 'canceled' });
  const parent = new AbortController();
  const child = childAbort(parent.signal);
  child.release();
  parent.abort();
  t.notOk(child.controller.signal.aborted, 'released children live on');
});

void t.test(
  'a merged queue keeps sources back when it is full, and ends with the last',
  async (t) => {
    const queue = new MergedQueue<number>(2);
    let asked = 0;
    async function* numbers(): AsyncIterable<number> {
      for (let n = 0; n < 10; n += 1) {
        asked = n;
        yield n;
      }
    }
    queue.source(numbers());
    queue.closeWhenDone();
    await settlePromises();
    t.equal(asked, 2, 'one beyond the two that fit');
    const taken: number[] = [];
    for (;;) {
      const items = await queue.take(3, forever());
      if (items.length === 0) break;
      t.ok(items.length <= 3);
      taken.push(...items);
    }
    t.same(taken, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  },
);
