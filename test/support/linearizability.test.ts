/** Histories that a store could and could not have given; and the search against a slow model. */
import * as fc from 'fast-check';
import t from 'tap';
import {
  checkLinearizable,
  describeVerdict,
  NEVER,
  type Operation,
  type Value,
} from './linearizability.js';

type Times = readonly [calledAt: number, answeredAt: number];

function span(key: string, [calledAt, answeredAt]: Times) {
  return { client: `c${calledAt}`, key, calledAt, answeredAt };
}

function write(times: Times, value: string, key = 'k'): Operation {
  return { ...span(key, times), kind: 'write', value };
}

function read(times: Times, value: Value, key = 'k'): Operation {
  return { ...span(key, times), kind: 'read', value };
}

function swap(times: Times, expected: Value, value: string, swapped?: boolean): Operation {
  return { ...span('k', times), kind: 'compareAndSet', expected, value, swapped };
}

const good: Readonly<Record<string, readonly Operation[]>> = {
  'nothing at all': [],
  'a key that was never written is empty': [read([1, 2], undefined)],
  'one after the other': [write([1, 2], 'a'), read([3, 4], 'a'), write([5, 6], 'b')],
  'a write is seen before its answer': [write([1, 9], 'a'), read([2, 3], 'a'), read([4, 5], 'a')],
  'a write takes effect late': [write([1, 9], 'a'), read([2, 3], undefined), read([4, 5], 'a')],
  'writes at the same time in either order': [
    write([1, 10], 'a'),
    write([2, 9], 'b'),
    read([11, 12], 'a'),
  ],
  'reads at the same time see before and after': [
    write([1, 20], 'a'),
    read([2, 19], 'a'),
    read([3, 18], undefined),
  ],
  'one of two swaps wins': [
    write([1, 2], 'a'),
    swap([3, 8], 'a', 'b', true),
    swap([4, 7], 'a', 'c', false),
    read([9, 10], 'b'),
  ],
  'swaps in a chain, called in another order': [
    swap([1, 20], 'c', 'd', true),
    swap([2, 21], 'b', 'c', true),
    swap([3, 22], undefined, 'b', true),
    read([23, 24], 'd'),
  ],
  'a lost write never happened': [
    write([1, 2], 'a'),
    write([3, NEVER], 'b'),
    read([5, 6], 'a'),
    read([7, 8], 'a'),
  ],
  'a lost write happens much later': [
    write([1, 2], 'a'),
    write([3, NEVER], 'b'),
    read([5, 6], 'a'),
    write([7, 8], 'c'),
    read([9, 10], 'b'),
  ],
  'a lost swap happened': [swap([1, NEVER], undefined, 'a'), read([2, 3], 'a')],
  'a lost swap found another value': [write([1, 2], 'x'), swap([3, NEVER], 'y', 'a')],
  'lost swaps make a chain that a read sees': [
    swap([1, NEVER], 'b', 'c'),
    swap([2, NEVER], 'a', 'b'),
    write([3, 4], 'a'),
    read([5, 6], 'c'),
  ],
  'a swap fails because of a lost write that nobody saw': [
    write([1, 2], 'a'),
    write([3, NEVER], 'b'),
    swap([4, 5], 'a', 'c', false),
  ],
  'swaps fail because of two lost writes': [
    write([1, NEVER], 'x'),
    write([2, NEVER], 'y'),
    write([3, 4], 'a'),
    swap([5, 6], 'a', 'z', false),
    write([7, 8], 'a'),
    swap([9, 10], 'a', 'z', false),
  ],
  'keys do not see each other': [
    write([1, 2], 'a', 'k'),
    write([3, 4], 'b', 'l'),
    read([5, 6], 'a', 'k'),
    read([7, 8], 'b', 'l'),
  ],
};

const bad: Readonly<Record<string, readonly Operation[]>> = {
  'a stale read': [write([1, 2], 'a'), write([3, 4], 'b'), read([5, 6], 'a')],
  'a read of nothing after a write': [write([1, 2], 'a'), read([3, 4], undefined)],
  'a value that was never written': [write([1, 2], 'a'), read([3, 4], 'b')],
  'a value before it was written': [read([1, 2], 'a'), write([3, 4], 'a')],
  'an acknowledged write is lost': [
    write([1, 2], 'a'),
    write([3, 4], 'b'),
    read([5, 6], 'a'),
    read([7, 8], 'a'),
  ],
  'a lost update: both swaps from one value succeed': [
    write([1, 2], 'a'),
    swap([3, 8], 'a', 'b', true),
    swap([4, 7], 'a', 'c', true),
  ],
  'both swaps of an empty key succeed': [
    swap([1, 4], undefined, 'a', true),
    swap([2, 3], undefined, 'b', true),
  ],
  'a swap fails though the value was there': [
    write([1, 2], 'a'),
    swap([3, 4], 'a', 'b', false),
    read([5, 6], 'a'),
  ],
  'a swap succeeds from a value that was not there': [
    write([1, 2], 'a'),
    swap([3, 4], 'b', 'c', true),
  ],
  'a swap that failed is seen': [
    write([1, 2], 'a'),
    swap([3, 4], 'b', 'c', false),
    read([5, 6], 'c'),
  ],
  'the order of real time is broken': [
    write([1, 10], 'a'),
    read([2, 3], 'a'),
    read([4, 5], undefined),
  ],
  'two readers see two writes in different orders': [
    write([1, 20], 'a'),
    write([2, 21], 'b'),
    read([3, 4], 'a'),
    read([5, 6], 'b'),
    read([7, 8], 'a'),
  ],
  'a lost write happens twice': [
    write([1, NEVER], 'a'),
    read([2, 3], 'a'),
    write([4, 5], 'b'),
    read([6, 7], 'a'),
  ],
  'a lost write is seen and unseen': [
    write([1, NEVER], 'a'),
    read([2, 3], 'a'),
    read([4, 5], undefined),
  ],
  'a lost swap happens before its call': [
    read([1, 2], 'a'),
    swap([3, NEVER], undefined, 'a'),
    read([4, 5], 'a'),
  ],
  'a lost swap happens from another value': [
    write([1, 2], 'x'),
    swap([3, NEVER], 'y', 'a'),
    read([4, 5], 'a'),
  ],
  'one lost write explains one failed swap only': [
    write([1, NEVER], 'x'),
    write([3, 4], 'a'),
    swap([5, 6], 'a', 'z', false),
    write([7, 8], 'a'),
    swap([9, 10], 'a', 'z', false),
  ],
  'one key of two is bad': [
    write([1, 2], 'a', 'k'),
    read([3, 4], 'a', 'k'),
    write([5, 6], 'b', 'l'),
    read([7, 8], 'c', 'l'),
  ],
};

void t.test('histories that a store could have given', async (t) => {
  for (const [name, history] of Object.entries(good)) {
    const verdict = checkLinearizable(history);
    t.equal(verdict.kind, 'linearizable', `${name}: ${describeVerdict(verdict)}`);
  }
});

void t.test('histories that no store could have given', async (t) => {
  for (const [name, history] of Object.entries(bad)) {
    const verdict = checkLinearizable(history);
    t.equal(verdict.kind, 'violated', `${name}: ${describeVerdict(verdict)}`);
  }
});

void t.test('a violation names what fits nowhere', async (t) => {
  const verdict = checkLinearizable(bad['a stale read'] ?? []);
  t.match(describeVerdict(verdict), /^key k: c5 \[5, 6\] read a fits nowhere after\n/);
});

/** The definition itself: every choice of pending operations in every order. */
function isLinearizableSlowly(history: readonly Operation[]): boolean {
  const isNext = (one: Operation, left: readonly Operation[]): boolean =>
    left.every((other) => other === one || other.answeredAt > one.calledAt);
  const search = (state: Value, left: readonly Operation[]): boolean => {
    if (left.every((one) => one.answeredAt === NEVER)) return true;
    return left.some((one) => {
      const rest = left.filter((other) => other !== one);
      if (!isNext(one, left)) return false;
      switch (one.kind) {
        case 'write':
          return search(one.value, rest);
        case 'read':
          return one.value === state && search(state, rest);
        case 'compareAndSet': {
          const swaps = state === one.expected;
          if (one.swapped === !swaps) return false;
          return search(swaps ? one.value : state, rest);
        }
      }
    });
  };
  return search(undefined, history);
}

const value = fc.constantFrom('a', 'b', 'c');
const asked = fc.option(value, { nil: undefined });
const call = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), value }),
  fc.record({ kind: fc.constant('read' as const), value: asked }),
  fc.record({
    kind: fc.constant('compareAndSet' as const),
    expected: asked,
    value,
    swapped: fc.boolean(),
  }),
);
const draft = fc.record({ call, start: fc.nat(12), length: fc.nat(6), isLost: fc.boolean() });

/** Gives every event a moment of its own. */
function historyOf(drafts: readonly (typeof draft extends fc.Arbitrary<infer D> ? D : never)[]) {
  const count = drafts.length;
  return drafts.flatMap(({ call, start, length, isLost }, at): Operation[] => {
    const calledAt = start * 2 * count + at;
    const answeredAt = (start + length) * 2 * count + count + at;
    const lost = isLost && call.kind !== 'read';
    const times = span('k', [calledAt, lost ? NEVER : answeredAt]);
    if (call.kind !== 'compareAndSet') return [{ ...times, ...call }];
    return [{ ...times, ...call, swapped: lost ? undefined : call.swapped }];
  });
}

void t.test('the search agrees with the definition', async (t) => {
  const seen = { good: 0, bad: 0 };
  fc.assert(
    fc.property(fc.array(draft, { minLength: 2, maxLength: 7 }), (drafts) => {
      const history = historyOf(drafts);
      const expected = isLinearizableSlowly(history);
      if (expected) seen.good += 1;
      else seen.bad += 1;
      return (checkLinearizable(history).kind === 'linearizable') === expected;
    }),
    { numRuns: 1500, seed: 20_260_101 },
  );
  t.ok(seen.good > 200 && seen.bad > 200, `both kinds were met: ${JSON.stringify(seen)}`);
});

void t.test('long histories with many lost answers are decided; a search has an end', async (t) => {
  const history: Operation[] = [];
  for (let at = 0; at < 400; at++) {
    const value = `v${at}`;
    if (at % 3 === 0) history.push(write([10 * at, NEVER], `lost${at}`));
    history.push(write([10 * at + 1, 10 * at + 5], value));
    history.push(read([10 * at + 6, 10 * at + 8], value));
  }
  t.equal(checkLinearizable(history).kind, 'linearizable');
  t.equal(checkLinearizable(history, 100).kind, 'undecided');
  t.equal(checkLinearizable([...history, read([5000, 5001], 'v398')]).kind, 'violated');
});
