/** Heartbeat timers of a manager whose process stood still for longer than its nodes may be silent. */
import t from 'tap';
import type { Environment } from '../../../src/model/environment.js';
import { SessionRegistry } from '../../../src/manager/dispatcher/session-registry.js';

interface HeldTimer {
  readonly delayMs: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

void t.test('what nodes said meanwhile is read before they count as silent', (t) => {
  const timers: HeldTimer[] = [];
  const env: Environment = {
    clock: {
      nowMs: () => 0,
      monotonicMs: () => 0,
      setTimer(delayMs, fire) {
        const timer = { delayMs, fire, isCancelled: false };
        timers.push(timer);
        return {
          cancel: () => {
            timer.isCancelled = true;
          },
        };
      },
    },
    random: { next: () => 0.5, bytes: (length) => new Uint8Array(length) },
  };
  const silent: string[] = [];
  const registry = new SessionRegistry({ env, onSilent: (nodeId) => silent.push(nodeId) });
  registry.open('a', 4000);
  registry.open('b', 4000);
  const [ofA, ofB] = timers.filter(({ isCancelled }) => !isCancelled);
  // Both are overdue when the process runs again; only then is a heartbeat of `a` read.
  ofA?.fire();
  ofB?.fire();
  t.same(silent, [], 'nobody is silent yet');
  const last = timers.slice(-2);
  registry.expect('a', 4000);
  for (const timer of last) if (!timer.isCancelled) timer.fire();
  t.same(silent, ['b']);
  t.ok(registry.has('a'));
  t.notOk(registry.has('b'));
  t.equal((ofA?.delayMs ?? 0) + (last[0]?.delayMs ?? 0), 4000, 'the grace is as long as ever');
  t.end();
});
