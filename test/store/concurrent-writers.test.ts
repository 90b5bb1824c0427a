/**
 * Writers that do not wait for each other, and leaders that change under them: each works on what
 * the ones before it proposed, none is acknowledged and lost, none applied twice, none built on what
 * never came.
 */
import { deepStrictEqual, equal, ok } from 'node:assert/strict';
import { clone, create } from '@bufbuild/protobuf';
import * as fc from 'fast-check';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import { SkepError } from '../../src/model/errors.js';
import { type Service, ServiceSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { AnnotationsSchema } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { wasNotProposed } from '../../src/store/proposer.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../src/store/types.js';
import { secret, service, task } from './objects.js';
import { SharedLog } from './shared-log.js';

type Step =
  | { readonly kind: 'add' | 'read' | 'swap' | 'throw' | 'duplicate' | 'large' | 'delete' }
  | { readonly kind: 'batch' | 'commit' | 'changeLeader' | 'turns'; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom('add' as const, 'swap' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom(...(['read', 'throw', 'duplicate', 'large', 'delete'] as const)),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom(...(['batch', 'commit', 'commit', 'turns', 'turns'] as const)),
      count: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('changeLeader' as const),
      count: fc.integer({ min: 0, max: 6 }),
    }),
  },
);

/** Lets whatever can go on do so, a few turns of promises. */
async function turns(count: number): Promise<void> {
  for (let at = 0; at < count * 3; at++) await Promise.resolve();
}

/** How many were added, by the counter that each addition moves. */
function counted(tx: ReadTransaction): number {
  return Number(tx.get('service', 'counter')?.spec?.annotations?.labels['n'] ?? 0);
}

function labelled(stored: Service | undefined, labels: Record<string, string>): Service {
  if (stored === undefined) throw new Error('no such service');
  const copy = clone(ServiceSchema, stored);
  if (copy.spec?.annotations !== undefined) copy.spec.annotations.labels = labels;
  return copy;
}

/** One run: the log, the writers' outcomes, and what the stores told of. */
class Run {
  readonly log: SharedLog;
  readonly #isSharing: boolean;
  readonly #outcomes: Promise<void>[] = [];
  readonly #added: string[] = [];
  readonly #neverMade: string[] = [];
  /** Base versions of the swaps that were acknowledged. */
  readonly #swapped: bigint[] = [];
  /** Names that a service of a store had at any time. */
  readonly #named = new Set<string>();
  #next = 0;
  /** Additions acknowledged so far. */
  #acknowledged = 0;

  /** @param isSharing see {@link SharedLog} */
  constructor(isSharing: boolean) {
    this.#isSharing = isSharing;
    this.log = new SharedLog(7, isSharing);
    for (const store of this.log.stores) {
      let last = 0n;
      store.subscribe((events, version) => {
        ok(version > last, 'entries are told of in order');
        last = version;
        for (const event of events) {
          checkEvent(event, version);
          if (event.kind !== 'create' || event.table !== 'service') continue;
          this.#named.add(event.object.spec?.annotations?.name ?? '');
        }
      });
    }
  }

  async begin(): Promise<void> {
    const created = this.log.leading.update((tx) => {
      tx.create('service', service('counter', 'counter'));
      tx.create('service', service('swapped', 'swapped'));
    });
    await this.#turns(2);
    this.log.commit(1);
    await created;
  }

  async #turns(count: number): Promise<void> {
    await turns(count);
    if (this.#isSharing) await nextTurn();
  }

  async do(step: Step): Promise<void> {
    const { log } = this;
    switch (step.kind) {
      case 'add':
        this.#add();
        return;
      case 'read':
        this.#read();
        return;
      case 'swap':
        this.#swap();
        return;
      case 'throw':
        this.#throw();
        return;
      case 'duplicate':
        this.#duplicate();
        return;
      case 'large':
        this.#large();
        return;
      case 'delete':
        this.#delete();
        return;
      case 'batch':
        this.#batch(step.count);
        return;
      case 'commit':
        log.commit(step.count);
        return;
      case 'changeLeader':
        log.changeLeader(Math.min(step.count, log.pending));
        return;
      case 'turns':
        await this.#turns(step.count);
    }
  }

  /** Decides what is left and checks everything. */
  async end(): Promise<void> {
    const { log } = this;
    const all = Promise.all(this.#outcomes);
    const decided = { all: false };
    void all.finally(() => {
      decided.all = true;
    });
    while (!decided.all) {
      await this.#turns(20);
      log.commit(log.pending);
    }
    await all;
    deepStrictEqual(log.refusals, [], 'what was proposed was made on what it met');
    equal(log.stores[0].stateHash(), log.stores[1].stateHash());
    const { ids, numbers, counter } = log.leading.view((tx) => {
      const tasks = [...tx.find('task', { by: 'service', serviceId: 'added' })];
      tasks.sort((a, b) => Number(a.slot - b.slot));
      for (let at = 1; at < tasks.length; at++) {
        const [before, after] = [tasks[at - 1], tasks[at]].map((one) => one?.meta?.version?.index);
        ok((before ?? 0n) <= (after ?? 0n), 'numbers follow the log');
      }
      const ids = new Set(tasks.map((one) => one.id));
      return { ids, numbers: tasks.map((one) => Number(one.slot)), counter: counted(tx) };
    });
    deepStrictEqual(
      numbers,
      numbers.map((_, at) => at),
      'each addition saw all those before it, and no other',
    );
    equal(counter, numbers.length, 'no addition was applied twice');
    for (const id of this.#added) ok(ids.has(id), `${id} was acknowledged`);
    for (const id of this.#neverMade) ok(!ids.has(id), `${id} was reported as not proposed`);
    equal(new Set(this.#swapped).size, this.#swapped.length, 'a version is swapped away once');
  }

  #follow(outcome: Promise<void>): void {
    this.#outcomes.push(outcome);
  }

  /** Creates a task with the counter's number, and counts it. */
  #addition(id: string): (tx: WriteTransaction) => number {
    return (tx) => {
      const n = counted(tx);
      tx.create('task', task(id, 'added', { slot: BigInt(n) }));
      tx.update('service', labelled(tx.get('service', 'counter'), { n: String(n + 1) }));
      equal(counted(tx), n + 1, 'a writer reads what it wrote');
      return n;
    };
  }

  #noteFailure(id: string, error: unknown): void {
    equal(SkepError.from(error).code, 'unavailable', SkepError.from(error).message);
    if (wasNotProposed(error)) this.#neverMade.push(id);
  }

  #add(): void {
    const id = `t${this.#next++}`;
    const { leading } = this.log;
    this.#follow(
      leading.update(this.#addition(id)).then(
        (n) => {
          this.#added.push(id);
          this.#acknowledged += 1;
          const stored = leading.view((tx) => tx.get('task', id));
          equal(Number(stored?.slot), n, 'what is acknowledged is there');
        },
        (error: unknown) => this.#noteFailure(id, error),
      ),
    );
  }

  #batch(count: number): void {
    const ids = Array.from({ length: count }, () => `t${this.#next++}`);
    const writes = ids.map((id) => this.#addition(id));
    this.#follow(
      this.log.leading.batch(writes).then((outcomes) => {
        outcomes.forEach((error, at) => {
          const id = ids[at] ?? '';
          if (error !== undefined) this.#noteFailure(id, error);
          else {
            this.#added.push(id);
            this.#acknowledged += 1;
          }
        });
      }),
    );
  }

  /** Changes nothing, and so must not tell of what never came. */
  #read(): void {
    const atLeast = this.#acknowledged;
    const { leading } = this.log;
    this.#follow(
      leading.update(counted).then(
        (n) => {
          ok(n >= atLeast, 'nothing acknowledged before is missing');
          ok(n <= leading.view(counted), 'nothing undecided is told of');
        },
        (error: unknown) => ok(wasNotProposed(error)),
      ),
    );
  }

  /** Compare and set, on the version that is applied now. */
  #swap(): void {
    const { leading } = this.log;
    const stored = leading.view((tx) => tx.get('service', 'swapped'));
    const base = stored?.meta?.version?.index ?? 0n;
    const next = labelled(stored, { base: String(base) });
    this.#follow(
      leading
        .update((tx) => tx.update('service', next))
        .then(
          () => {
            this.#swapped.push(base);
          },
          (error: unknown) => {
            const { code, message } = SkepError.from(error);
            ok(code === 'unavailable' || message === 'update out of sequence', message);
          },
        ),
    );
  }

  #throw(): void {
    const id = `t${this.#next++}`;
    this.#neverMade.push(id);
    const update = this.log.leading.update((tx) => {
      this.#addition(id)(tx);
      throw new SkepError('aborted', 'thrown');
    });
    this.#follow(
      update.then(
        () => ok(false, 'it throws'),
        (error: unknown) =>
          ok(wasNotProposed(error) || SkepError.from(error).code === 'aborted', String(error)),
      ),
    );
  }

  /** Is refused because of what another writer has, unless that never came. */
  #duplicate(): void {
    const { leading } = this.log;
    const name = `name${this.#next % 3}`;
    const id = `d${this.#next++}`;
    this.#follow(
      leading
        .update((tx) => tx.create('service', service(id, name)))
        .catch((error: unknown) => {
          const { code } = SkepError.from(error);
          ok(code === 'unavailable' || code === 'already_exists', code);
          if (code !== 'already_exists') return;
          ok(this.#named.has(name), 'whoever has the name was there');
        }),
    );
  }

  /** Fills the window at once. */
  #large(): void {
    const id = `k${this.#next++}`;
    this.#follow(
      this.log.leading
        .update((tx) => {
          for (const old of tx.find('secret', { by: 'all' })) tx.delete('secret', old.id);
          tx.create('secret', secret(id, id, 1_200_000));
        })
        .catch((error: unknown) => equal(SkepError.from(error).code, 'unavailable')),
    );
  }

  /** Takes a service with a name away again. */
  #delete(): void {
    this.#follow(
      this.log.leading
        .update((tx) => {
          const [first] = tx.find('service', { by: 'idPrefix', prefix: 'd' });
          if (first === undefined) return;
          tx.delete('service', first.id);
          equal(tx.get('service', first.id), undefined);
        })
        .catch((error: unknown) => equal(SkepError.from(error).code, 'unavailable')),
    );
  }
}

function checkEvent(event: StoreEvent, version: bigint): void {
  if (event.kind === 'remove') return;
  equal(event.object.meta?.version?.index, version, 'the version is the raft index');
  if (event.kind !== 'update' || event.object.id !== 'swapped') return;
  const { base } = (event.object as Service).spec?.annotations?.labels ?? {};
  equal(base, String(event.old.meta?.version?.index), 'only the version compared is replaced');
}

for (const isSharing of [false, true]) {
  const entries = isSharing ? 'share entries' : 'have entries of their own';
  void t.test(`writers ${entries} and leaders change: nothing is lost or done twice`, async (t) => {
    t.setTimeout(600_000);
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 80, size: 'max' }),
      async (steps) => {
        const run = new Run(isSharing);
        await run.begin();
        for (const one of steps) await run.do(one);
        await run.end();
      },
    );
    const numRuns = Number(process.env['STORE_RUNS'] ?? 300);
    const seed = Number(process.env['STORE_SEED'] ?? 20260301);
    await t.resolves(fc.assert(property, { numRuns, seed }));
  });
}

void t.test('waiting writers are proposed together, and within bounds', async (t) => {
  const log = new SharedLog(3);
  const { leading } = log;
  const writes = Array.from({ length: 1500 }, (_, at) =>
    leading.update((tx) => tx.create('task', task(`t${at}`, 's'))),
  );
  await turns(10_000);
  t.equal(log.pending, 1000, 'as many as may be under way');
  log.commit(1);
  await turns(100);
  t.equal(log.pending, 1000, 'one decided lets one in');
  log.commit(1000);
  await turns(10_000);
  t.equal(log.pending, 499);
  log.commit(499);
  await Promise.all(writes);
  t.equal(leading.count('task'), 1500);

  const large = Array.from({ length: 3 }, (_, at) =>
    leading.update((tx) => tx.create('secret', secret(`k${at}`, `k${at}`, 700_000))),
  );
  await turns(100);
  t.equal(log.pending, 2, 'the third would go beyond the bytes that may be under way');
  log.commit(2);
  await turns(100);
  t.equal(log.pending, 1);
  log.commit(1);
  await Promise.all(large);
});

void t.test('what is built on a lost write is lost, and may be tried again', async (t) => {
  const log = new SharedLog(3);
  const { leading } = log;
  const lost = leading.update((tx) => tx.create('service', service('a', 'web')));
  const refused = leading.update((tx) => tx.create('service', service('b', 'web')));
  const read = leading.update((tx) => tx.find('service', { by: 'name', name: 'web' }).length);
  const batch = leading.batch([(tx) => tx.create('service', service('b', 'web'))]);
  await turns(20);
  log.changeLeader(0);
  const codes: string[] = [];
  for (const outcome of [lost, refused, read]) {
    await outcome.catch((error: unknown) => {
      codes.push(`${SkepError.from(error).code} ${wasNotProposed(error)}`);
    });
  }
  t.same(codes, ['unavailable false', 'unavailable true', 'unavailable true']);
  t.ok(wasNotProposed((await batch)[0]), 'not refused for a name that nobody has');
  t.equal(leading.count('service'), 0);
});

void t.test(
  'writers of one turn share an entry, but for those that change the same object',
  async (t) => {
    const log = new SharedLog(3, true);
    const { leading } = log;
    const versionOf = (id: string): bigint | undefined =>
      leading.view((tx) => tx.get('service', id)?.meta?.version?.index);
    const createNamed = (id: string): Promise<void> =>
      leading.update((tx) => tx.create('service', service(id, id)));
    const relabel = (id: string, n: string): Promise<void> =>
      leading.update((tx) => tx.update('service', labelled(tx.get('service', id), { n })));
    const first = [
      createNamed('a'),
      createNamed('b'),
      relabel('a', '1'),
      relabel('b', '1'),
      relabel('a', '2'),
    ];
    await nextTurn();
    t.equal(log.pending, 3, 'created; changed; one of them changed once more');
    log.commit(3);
    await Promise.all(first);
    t.same([versionOf('a'), versionOf('b')], [3n, 2n]);

    const stored = leading.view((tx) => tx.get('service', 'a'));
    const same = labelled(stored, { n: '3' });
    const swaps = [1, 2].map(() => leading.update((tx) => tx.update('service', same)));
    const outcomes = Promise.allSettled(swaps);
    await nextTurn();
    log.commit(log.pending);
    t.same(
      (await outcomes).map(({ status }) => status),
      ['fulfilled', 'rejected'],
      'a version is replaced once',
    );
  },
);

void t.test(
  'what a writer does to its objects later is not stored, and nothing is copied',
  async (t) => {
    const log = new SharedLog(3, true);
    const { leading } = log;
    const created = leading.update((tx) => tx.create('task', task('t', 's')));
    await nextTurn();
    log.commit(1);
    await created;
    const before = leading.view((tx) => tx.get('task', 't'));
    if (before === undefined) throw new Error('no task');
    const labels = { n: '1' };
    const annotations = create(AnnotationsSchema, { name: 'x', labels });
    const updated = leading.update((tx) => tx.update('task', { ...before, annotations }));
    await turns(5);
    t.equal(log.pending, 0, 'gathered, and not proposed yet');
    annotations.labels['n'] = '2';
    await nextTurn();
    annotations.labels['n'] = '3';
    log.commit(1);
    await updated;
    const after = leading.view((tx) => tx.get('task', 't'));
    t.same(after?.annotations?.labels, { n: '1' });
    t.equal(after?.status, before.status, 'what stayed is the same object');
    t.equal(log.stores[0].stateHash(), log.stores[1].stateHash());
  },
);
