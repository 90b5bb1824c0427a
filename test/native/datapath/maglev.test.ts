/**
 * Properties of the Maglev tables: complete, even, the same on every node, and little disturbed when
 * a backend comes or goes.
 */
import t from 'tap';
import { loadAddon } from '../../../src/native/addon.js';

const CELLS = [1021, 4093] as const;
const table = loadAddon()['maglevTable'] as (names: readonly string[], cells: number) => number[];

const AGREED_HEAD = [1, 2, 1, 3, 2, 3, 1, 2, 3, 4, 0, 3, 4, 2, 4, 2, 4, 0, 2, 3, 1, 4, 0, 2];

/** Identities as the data path has them: four bytes of an address. */
function identities(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `10.0.${index >> 8}.${index & 0xff}`).sort();
}

/** The table as names, so that tables of different sets can be compared. */
function named(names: readonly string[], cells: number): readonly string[] {
  return table(names, cells).map((index) => names[index] ?? '');
}

function share(of: readonly string[], test: (name: string, cell: number) => boolean): number {
  return of.filter(test).length / of.length;
}

t.same(table([], 1021), [], 'nobody, no table');

for (const cells of CELLS) {
  for (const count of [1, 2, 3, 10, 100]) {
    const all = identities(count);
    const cellsOf = new Map<string, number>();
    for (const name of named(all, cells)) cellsOf.set(name, (cellsOf.get(name) ?? 0) + 1);
    t.equal(cellsOf.size, count, `${count} of ${cells}: everybody has cells`);
    const counts = [...cellsOf.values()];
    t.ok(Math.max(...counts) - Math.min(...counts) <= 1, `${count} of ${cells}: even`);
    t.same(table(all, cells), table(all, cells), 'the same each time');
  }
}

// Nodes of different versions must agree: a change here breaks flows whose entries are lost.
t.same(table(identities(5), 1021).slice(0, 24), AGREED_HEAD);

for (const count of [2, 10, 50]) {
  await t.test(`one of ${count} goes`, async (t) => {
    const all = identities(count);
    const before = named(all, 1021);
    for (const gone of [all[0], all[count >> 1], all[count - 1]]) {
      const after = named(
        all.filter((name) => name !== gone),
        1021,
      );
      t.notOk(after.includes(gone ?? ''));
      const moved = share(before, (name, cell) => name !== gone && after[cell] !== name);
      t.ok(moved < 0.1, `${(moved * 100).toFixed(1)} % of the cells moved between the others`);
    }
  });
}
