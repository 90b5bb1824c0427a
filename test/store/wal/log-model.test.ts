/**
 * The log on disk against a model: whatever is appended, replaced, covered by snapshots and
 * reopened, what is read is what a plain list would hold.
 */
import { deepStrictEqual } from 'node:assert/strict';
import { rmSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import type { Entry, HardState } from '../../../src/raft/types.js';
import {
  createStorage,
  openStorage,
  type RaftStorage,
} from '../../../src/store/wal/raft-storage.js';
import { stateDirectory, TEST_KEYS } from '../state-directory.js';

type Step =
  | { readonly kind: 'append'; readonly back: number; readonly sizes: readonly number[] }
  | { readonly kind: 'vote'; readonly vote: number }
  | { readonly kind: 'snapshot'; readonly bytes: number; readonly ahead: boolean }
  | { readonly kind: 'reopen' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append'),
      back: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 5 })),
      sizes: fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.constant(9000)), {
        minLength: 1,
        maxLength: 6,
      }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('vote'), vote: fc.nat(9) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('snapshot'),
      bytes: fc.nat(5000),
      ahead: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('reopen') }) },
) as fc.Arbitrary<Step>;

/** What the disk should hold. */
interface Model {
  entries: Entry[];
  hardState: HardState;
  snapshot: { index: number; term: number; data: string };
}

class Harness {
  readonly #directory: string;
  readonly model: Model = {
    entries: [],
    hardState: { term: 0, vote: 0, commit: 0 },
    snapshot: { index: 0, term: 0, data: '' },
  };
  #storage: RaftStorage | undefined;
  #term = 1;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async open(): Promise<void> {
    const options = { directory: this.#directory, keys: TEST_KEYS, segmentBytes: 4096 };
    this.#storage = await openStorage(options, (error) => {
      throw error;
    });
    const { stored, snapshotData } = this.#storage;
    const { model } = this;
    deepStrictEqual(stored.hardState, model.hardState);
    deepStrictEqual(stored.snapshot.index, model.snapshot.index);
    deepStrictEqual(Buffer.from(snapshotData ?? []).toString(), model.snapshot.data);
    deepStrictEqual(
      stored.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data) })),
      model.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data) })),
    );
  }

  async close(): Promise<void> {
    await this.#storage?.close();
    this.#storage = undefined;
  }

  async run(step: Step): Promise<void> {
    const storage = this.#storage;
    if (storage === undefined) throw new Error('not open');
    const { model } = this;
    switch (step.kind) {
      case 'append': {
        // Only entries that are not covered by the snapshot may be replaced.
        const last = model.snapshot.index + model.entries.length;
        const first = Math.max(model.snapshot.index, last - step.back) + 1;
        this.#term += step.back > 0 ? 1 : 0;
        const entries = step.sizes.map((size, at) => ({
          index: first + at,
          term: this.#term,
          kind: 'normal' as const,
          data: Buffer.alloc(size, at + 1),
        }));
        model.entries = [...model.entries.filter((entry) => entry.index < first), ...entries];
        await storage.append({ entries, hardState: undefined, sync: true });
        return;
      }
      case 'vote': {
        model.hardState = { term: this.#term, vote: step.vote, commit: model.snapshot.index };
        await storage.append({ entries: [], hardState: model.hardState, sync: true });
        return;
      }
      case 'snapshot': {
        const inLog = model.entries.at(Math.floor(model.entries.length / 2));
        const last = model.snapshot.index + model.entries.length;
        const ahead = step.ahead || inLog === undefined;
        const index = ahead ? last + 5 : inLog.index;
        const term = ahead ? (this.#term += 1) : inLog.term;
        const data = 's'.repeat(step.bytes);
        model.entries = ahead ? [] : model.entries.filter((entry) => entry.index > index);
        model.snapshot = { index, term, data };
        const conf = { voters: [1], learners: [] };
        await storage.saveSnapshot({ index, term, conf, data: Buffer.from(data) });
        return;
      }
      case 'reopen':
        await this.close();
        await this.open();
    }
  }
}

void t.test('what is read is what was written', async (t) => {
  const directory = stateDirectory(t);
  const property = fc.asyncProperty(
    fc.array(step, { maxLength: 25, size: 'max' }),
    async (steps) => {
      rmSync(directory, { recursive: true, force: true });
      await createStorage({ directory, keys: TEST_KEYS, segmentBytes: 4096 }, 1, undefined);
      const harness = new Harness(directory);
      try {
        await harness.open();
        for (const one of steps) await harness.run(one);
        await harness.close();
        await harness.open();
      } finally {
        await harness.close();
      }
    },
  );
  await t.resolves(fc.assert(property, { numRuns: 12, seed: 20260104 }));
});
