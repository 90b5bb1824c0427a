/** When a task counts as ready, in virtual time and with looks that say what the test wants. */
import t, { type Test } from 'tap';
import { ReadinessWatch } from '../../src/agent/readiness-watch.js';
import type { Look } from '../../src/agent/readiness-probe.js';
import { type Readiness, readiness } from '../../src/model/readiness.js';
import { silentLogger } from '../../src/observe/logger.js';
import { simulatedEnvironment } from '../support/simulated-environment.js';

const READY: Look = { kind: 'ready' };
const UNREADY: Look = { kind: 'unready', reason: 'it says so' };
const UNKNOWN: Look = { kind: 'unknown' };

/** A watch whose looks are `bench.found`, and what it has applied. */
function bench(t: Test, labels: Record<string, string> = {}) {
  const { clock } = simulatedEnvironment(1);
  const life = new AbortController();
  const bench: { found: Look; looks: number; fails: boolean; readonly applied: string[] } = {
    ...{ found: READY, looks: 0, fails: false, applied: [] },
  };
  const wanted = (more: Record<string, string>): Readiness | undefined =>
    readiness({ 'skep.readiness.tcp': '80', ...more });
  const watch = new ReadinessWatch(
    {
      ...{ clock, logger: silentLogger, taskId: 'task' },
      look: () => {
        bench.looks += 1;
        return Promise.resolve(bench.found);
      },
      apply: (unready) => {
        if (bench.fails) return Promise.reject(new Error('no network'));
        bench.applied.push(unready ?? 'ready');
        return Promise.resolve();
      },
    },
    wanted(labels),
  );
  const { signal } = life;
  t.teardown(() => life.abort());
  const follow = () => watch.follow(signal).catch(() => undefined);
  const pass = async (ms: number) => clock.advanceAsync(ms);
  return { bench, watch, wanted, signal, follow, pass };
}

void t.test('a new task waits for its first success, however long', async (t) => {
  const { bench: state, watch, signal, pass } = bench(t);
  state.found = UNREADY;
  let done = false;
  const waiting = watch.untilReady(signal).then(() => (done = true));
  await pass(600_000);
  t.notOk(done);
  t.equal(state.looks, 601, 'each second');
  state.found = UNKNOWN;
  await pass(5000);
  t.notOk(done);
  state.found = READY;
  await pass(1000);
  await waiting;
  t.same(state.applied, [], 'entering the network says it');
});

void t.test('with a start period it fails once that is over', async (t) => {
  const labels = { 'skep.readiness.start-period': '10s', 'skep.readiness.retries': '2' };
  const { bench: state, watch, signal, pass } = bench(t, labels);
  state.found = UNREADY;
  let error: unknown;
  const waiting = watch.untilReady(signal).catch((thrown: unknown) => (error = thrown));
  await pass(10_900);
  t.equal(error, undefined);
  await pass(1000);
  await waiting;
  t.match(error, { message: 'task: never became ready: it says so' });
});

void t.test('several failures in a row, one success', async (t) => {
  const { bench: state, watch, signal, follow, pass } = bench(t);
  await watch.untilReady(signal);
  void follow();
  await pass(4999);
  t.equal(state.looks, 1, 'the next look is an interval later');
  for (const found of [UNREADY, UNREADY, READY, UNREADY, UNREADY, UNKNOWN]) {
    state.found = found;
    await pass(5000);
  }
  t.same(state.applied, []);
  state.found = UNREADY;
  await pass(5000);
  t.same(state.applied, ['it says so'], 'a look that tells nothing does not break the row');
  await pass(60_000);
  t.equal(state.applied.length, 1);
  state.found = READY;
  await pass(5000);
  t.same(state.applied, ['it says so', 'ready']);
});

void t.test(
  'after a restart the first verdict is told, and what failed is told again',
  async (t) => {
    const { bench: state, follow, pass } = bench(t);
    state.fails = true;
    void follow();
    await pass(0);
    t.same(state.applied, []);
    state.fails = false;
    await pass(5000);
    t.same(state.applied, ['ready']);
  },
);

void t.test('labels change while the task runs', async (t) => {
  const { bench: state, watch, wanted, signal, follow, pass } = bench(t);
  await watch.untilReady(signal);
  void follow();
  state.found = UNREADY;
  watch.configure(wanted({ 'skep.readiness.retries': '1', 'skep.readiness.interval': '1m' }));
  await pass(0);
  t.same(state.applied, ['it says so'], 'at once');
  watch.configure(undefined);
  await pass(0);
  t.same(state.applied, ['it says so', 'ready']);
  const { looks } = state;
  await pass(600_000);
  t.equal(state.looks, looks, 'nobody looks any more');
  watch.configure(wanted({ 'skep.readiness.retries': '1' }));
  await pass(0);
  t.equal(state.applied.length, 3);
});

void t.test('a task that waits becomes ready when its labels go', async (t) => {
  const { bench: state, watch, signal, pass } = bench(t);
  state.found = UNREADY;
  const waiting = watch.untilReady(signal);
  await pass(5000);
  watch.configure(undefined);
  await pass(0);
  await waiting;
});
