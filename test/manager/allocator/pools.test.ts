/** Numbers and subnets given out one after the other. */
import * as fc from 'fast-check';
import t from 'tap';
import { SerialPool } from '../../../src/manager/allocator/serial-pool.js';
import { Subnets } from '../../../src/manager/allocator/subnets.js';
import { type IpPrefix, overlaps, parseIpPrefix } from '../../../src/model/ip-prefix.js';

void t.test('a pool gives each free number once, the longest free one first', async (t) => {
  const pool = new SerialPool(10, 13);
  pool.take(11);
  t.same([pool.next(), pool.next(), pool.next(), pool.next()], [10, 12, 13, undefined]);
  pool.release(10);
  pool.release(13);
  t.same([pool.next(), pool.next(), pool.next()], [10, 13, undefined]);
  pool.take(99);
  t.notOk(pool.isFree(99), 'numbers outside can be held, too');
});

void t.test('a number held twice is free after both let go', async (t) => {
  const pool = new SerialPool(1, 3);
  pool.take(2);
  pool.take(2);
  pool.release(2);
  t.notOk(pool.isFree(2));
  pool.release(2);
  t.ok(pool.isFree(2));
  t.same([pool.next(), pool.next(), pool.next(), pool.next()], [1, 2, 3, undefined]);
});

void t.test('a rebuilt pool goes on behind the highest number', async (t) => {
  const pool = new SerialPool(1, 5);
  pool.take(3);
  pool.resumeBehindHighest();
  t.same([pool.next(), pool.next(), pool.next()], [4, 5, 1]);
});

void t.test('reserved numbers are only taken, never given', async (t) => {
  const reserved = [
    { first: 6, last: 7 },
    { first: 0, last: 2 },
  ];
  const pool = new SerialPool(1, 8, reserved);
  pool.take(7);
  pool.resumeBehindHighest();
  t.same(
    [1, 2, 3, 4, 5].map(() => pool.next()),
    [3, 4, 5, 8, undefined],
  );
  t.ok(pool.isFree(1));
  t.notOk(pool.isFree(7));
  pool.release(7);
  pool.release(4);
  t.same([pool.next(), pool.next()], [4, undefined]);
  t.equal(new SerialPool(1, 3, [{ first: 1, last: 3 }]).next(), undefined);
});

void t.test('a pool agrees with a set', async () => {
  const operation = fc.oneof(fc.constant('next' as const), fc.integer({ min: 0, max: 9 }));
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60, size: 'max' }), (operations) => {
      // 4, 5 and what is outside are never given.
      const pool = new SerialPool(2, 7, [{ first: 4, last: 5 }]);
      const held = new Set<number>();
      for (const step of operations) {
        if (step === 'next') {
          const number = pool.next();
          const full = [2, 3, 6, 7].every((each) => held.has(each));
          if (full !== (number === undefined)) return false;
          if (number !== undefined && (held.has(number) || [4, 5].includes(number))) return false;
          if (number !== undefined) held.add(number);
        } else if (held.delete(step)) pool.release(step);
        else {
          pool.take(step);
          held.add(step);
        }
      }
      return [...Array(10).keys()].every((number) => pool.isFree(number) !== held.has(number));
    }),
  );
});

function prefix(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  if (parsed === undefined) throw new Error(`${text} does not parse`);
  return parsed;
}

void t.test('subnets fill the pools and never overlap', async (t) => {
  const subnets = new Subnets();
  const pools = { pools: [prefix('10.1.0.0/30'), prefix('10.2.0.0/22')], subnetSize: 24 };
  subnets.set('user', [prefix('10.2.1.128/25')]);
  const given: IpPrefix[] = [];
  for (let next = subnets.next(pools); next !== undefined; next = subnets.next(pools)) {
    const subnet = next;
    t.notOk(given.some((other) => overlaps(other, subnet)));
    given.push(subnet);
    subnets.set(`n${given.length}`, [subnet]);
  }
  t.equal(given.length, 3, 'a pool smaller than a subnet gives none');
  subnets.set('n1', []);
  t.equal(subnets.next(pools)?.address, given[0]?.address);
});
