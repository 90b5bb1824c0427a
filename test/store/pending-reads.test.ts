/** Read barriers share requests, and none is answered by what was asked before it came. */
import t from 'tap';
import type { Clock } from '../../src/model/environment.js';
import { SkepError } from '../../src/model/errors.js';
import { PendingReads } from '../../src/store/pending-reads.js';
import { SimulatedClock } from '../support/simulated-environment.js';

function reads(clock: Clock): { pending: PendingReads; asked: string[]; leader: { is: boolean } } {
  const asked: string[] = [];
  const leader = { is: true };
  const ask = (context: string): boolean => {
    if (leader.is) asked.push(context);
    return leader.is;
  };
  return {
    pending: new PendingReads({ clock, deadlineMs: 1000, prefix: 'p', ask }),
    asked,
    leader,
  };
}

function watched(read: Promise<void>): { end: string; done: Promise<void> } {
  const result = { end: '', done: Promise.resolve() };
  result.done = read.then(
    () => void (result.end = 'read'),
    (error: unknown) => void (result.end = SkepError.from(error).code),
  );
  return result;
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

void t.test('who comes while a request is under way shares the next one', async (t) => {
  const { pending, asked } = reads(new SimulatedClock());
  const first = watched(pending.add());
  const later = [watched(pending.add()), watched(pending.add())];
  t.same(asked, ['p-1']);
  pending.confirm('p-1', 7);
  t.same(asked, ['p-1', 'p-2']);
  pending.applied(6);
  await settled();
  t.equal(first.end, '', 'not before its index is applied');
  pending.applied(9);
  await settled();
  t.equal(first.end, 'read');
  t.same(
    later.map(({ end }) => end),
    ['', ''],
    'an answer to an earlier request is none to them',
  );
  pending.confirm('p-1', 9);
  pending.confirm('p-2', 9);
  pending.applied(9);
  await Promise.all(later.map(({ done }) => done));
  t.same(
    later.map(({ end }) => end),
    ['read', 'read'],
  );
});

void t.test('a request is made again under its name, and waits for a leader', async (t) => {
  const { pending, asked, leader } = reads(new SimulatedClock());
  leader.is = false;
  const early = watched(pending.add());
  t.same(asked, []);
  leader.is = true;
  pending.askAgain();
  pending.askAgain();
  t.equal(asked.length, 2);
  t.equal(asked[0], asked[1]);
  pending.confirm(asked[0] as string, 3);
  pending.applied(3);
  await early.done;
  t.equal(early.end, 'read');
});

void t.test('all that wait end with the node', async (t) => {
  const { pending } = reads(new SimulatedClock());
  const all = [watched(pending.add()), watched(pending.add())];
  pending.confirm('p-1', 5);
  pending.abandon(new SkepError('unavailable', 'stopping'));
  await Promise.all(all.map(({ done }) => done));
  t.same(
    all.map(({ end }) => end),
    ['unavailable', 'unavailable'],
  );
});
