/** Cron's five fields. */
import t from 'tap';
import { parseCron } from '../../src/model/cron.js';

const ms = (text: string): number => Date.parse(`${text}Z`);
const iso = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : new Date(value).toISOString().slice(0, 16);

/** 2026-03-04 is a Wednesday. */
const CASES: readonly (readonly [schedule: string, from: string, next: string | undefined])[] = [
  ['* * * * *', '2026-03-04T10:00:00', '2026-03-04T10:01'],
  ['* * * * *', '2026-03-04T10:00:59.999', '2026-03-04T10:01'],
  ['*/5 * * * *', '2026-03-04T10:03:00', '2026-03-04T10:05'],
  ['*/5 * * * *', '2026-03-04T23:57:00', '2026-03-05T00:00'],
  ['7/20 * * * *', '2026-03-04T10:08:00', '2026-03-04T10:27'],
  ['0 3 * * *', '2026-03-04T03:00:00', '2026-03-05T03:00'],
  ['30 8-10,14 * * *', '2026-03-04T10:31:00', '2026-03-04T14:30'],
  ['0 0 1 jan *', '2026-03-04T00:00:00', '2027-01-01T00:00'],
  ['0 12 * * mon-fri', '2026-03-06T13:00:00', '2026-03-09T12:00'],
  ['0 0 * * 7', '2026-03-04T00:00:00', '2026-03-08T00:00'],
  ['0 0 13 * fri', '2026-03-04T00:00:00', '2026-03-06T00:00'],
  ['0 0 29 2 *', '2026-03-04T00:00:00', '2028-02-29T00:00'],
  ['0 0 */2 * wed', '2026-03-04T00:00:00', '2026-03-11T00:00'],
  ['0 0 31 feb *', '2026-03-04T00:00:00', undefined],
];
for (const [schedule, from, next] of CASES) {
  void t.test(`${schedule} after ${from}`, (t) => {
    t.equal(iso(parseCron(schedule).nextAfter(ms(from))), next);
    if (next !== undefined) t.ok(parseCron(schedule).isDue(ms(`${next}:30`)));
    t.end();
  });
}

for (const text of [
  '',
  '* * * *',
  '* * * * * *',
  '60 * * * *',
  '* 24 * * *',
  '* * 0 * *',
  '* * * 13 *',
  '* * * * 8',
  '*/0 * * * *',
  '5-1 * * * *',
  '-1 * * * *',
  '1,,2 * * * *',
  '* * * * someday',
  '1e1 * * * *',
  '@daily',
]) {
  void t.test(`refused: ${text}`, (t) => {
    t.throws(() => parseCron(text), { code: 'invalid_argument' });
    t.end();
  });
}
