/** The counters' names and numbers are the same in BPF and in TypeScript. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { DATAPATH_REASONS } from '../../src/native/drop-reasons.js';

const ROW = /SKEP_REASON\((\d+), \w+, "([^"]+)"\)/g;

function findHeader(): string {
  for (const base of ['../../', '../../../../', '../../../']) {
    try {
      return readFileSync(new URL(`${base}native/bpf/lib/drop_reasons.h`, import.meta.url), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('native/bpf/lib/drop_reasons.h is nowhere above');
}

const rows = [...findHeader().matchAll(ROW)].map(([, number, text]) => [text, Number(number)]);
t.same(Object.fromEntries(rows), DATAPATH_REASONS);
t.equal(new Set(rows.map(([, number]) => number)).size, rows.length, 'no number twice');
