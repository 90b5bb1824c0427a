/**
 * Schedules in cron's five fields: minute, hour, day of month, month, day of week, in UTC. `*`, lists,
 * ranges, steps, names of months and days; if both days are restricted, either will do (as in Vixie's
 * cron).
 */
import { SkepError } from './errors.js';

const MINUTE_MS = 60_000;
/** The longest wait of any schedule that comes up at all: 29 February over a century's gap. */
const SEARCH_DAYS_MAX = 8 * 366 + 1;

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

interface Field {
  readonly values: ReadonlySet<number>;
  /** Whether it begins with `*`. */
  readonly isOpen: boolean;
}

/** When something is due. */
export class CronSchedule {
  constructor(
    private readonly minutes: ReadonlySet<number>,
    private readonly hours: ReadonlySet<number>,
    private readonly isDay: (date: Date) => boolean,
  ) {}

  /** The first due time after `ms`, in milliseconds since the epoch; undefined if there is none. */
  nextAfter(ms: number): number | undefined {
    let at = Math.floor(ms / MINUTE_MS) * MINUTE_MS + MINUTE_MS;
    for (let days = 0; days < SEARCH_DAYS_MAX; days += 1) {
      const date = new Date(at);
      if (this.isDay(date)) {
        const found = this.#onDay(date);
        if (found !== undefined) return found;
      }
      at = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() + 1);
    }
    return undefined;
  }

  /** Whether the minute that `ms` is in is due. */
  isDue(ms: number): boolean {
    const minute = Math.floor(ms / MINUTE_MS) * MINUTE_MS;
    return this.nextAfter(minute - 1) === minute;
  }

  /** The first due time of the day of `from`, not before it. */
  #onDay(from: Date): number | undefined {
    const [year, month, day] = [from.getUTCFullYear(), from.getUTCMonth(), from.getUTCDate()];
    for (let hour = from.getUTCHours(); hour < 24; hour += 1) {
      if (!this.hours.has(hour)) continue;
      const first = hour === from.getUTCHours() ? from.getUTCMinutes() : 0;
      for (let minute = first; minute < 60; minute += 1) {
        if (this.minutes.has(minute)) return Date.UTC(year, month, day, hour, minute);
      }
    }
    return undefined;
  }
}

/** @throws SkepError invalid_argument */
export function parseCron(text: string): CronSchedule {
  const fields = text.trim().split(/\s+/);
  const [minute, hour, day, month, weekday] = fields;
  if (fields.length !== 5 || weekday === undefined) {
    throw malformed(text, 'has not the five fields minute, hour, day, month, day of week');
  }
  const parse = (field: string | undefined, least: number, most: number, names?: string[]): Field =>
    parseField(text, field ?? '', { least, most, names: names ?? [] });
  const minutes = parse(minute, 0, 59);
  const hours = parse(hour, 0, 23);
  const days = parse(day, 1, 31);
  const months = parse(month, 1, 12, MONTHS);
  const weekdays = parse(weekday, 0, 7, DAYS);
  const isWeekday = (date: Date): boolean => {
    const number = date.getUTCDay();
    return weekdays.values.has(number) || (number === 0 && weekdays.values.has(7));
  };
  return new CronSchedule(minutes.values, hours.values, (date) => {
    if (!months.values.has(date.getUTCMonth() + 1)) return false;
    const isMonthday = days.values.has(date.getUTCDate());
    return days.isOpen || weekdays.isOpen
      ? isMonthday && isWeekday(date)
      : isMonthday || isWeekday(date);
  });
}

interface Range {
  readonly least: number;
  readonly most: number;
  /** Of the values from `least` on, or of those from 0 for days. */
  readonly names: readonly string[];
}

function parseField(text: string, field: string, range: Range): Field {
  const values = new Set<number>();
  for (const part of field.split(',')) {
    const [, span = '', , stepText] = /^([^/]+)(\/(\d{1,2}))?$/.exec(part) ?? [];
    const step = stepText === undefined ? 1 : Number(stepText);
    const [first, last] = parseSpan(text, span, stepText !== undefined, range);
    if (step === 0) throw malformed(text, `has a step of 0 in ${field}`);
    for (let value = first; value <= last; value += step) values.add(value);
  }
  return { values, isOpen: field.startsWith('*') };
}

function parseSpan(text: string, span: string, hasStep: boolean, range: Range): [number, number] {
  const { least, most } = range;
  if (span === '*') return [least, most];
  const [from = '', to] = span.split('-', 2);
  const first = parseValue(text, from, range);
  const last = to === undefined ? (hasStep ? most : first) : parseValue(text, to, range);
  if (last < first) throw malformed(text, `has ${span}, which ends before it begins`);
  return [first, last];
}

function parseValue(text: string, value: string, { least, most, names }: Range): number {
  const name = names.indexOf(value.toLowerCase());
  const number = name >= 0 ? name + (names === MONTHS ? 1 : 0) : Number(value);
  if ((name >= 0 || /^\d{1,2}$/.test(value)) && number >= least && number <= most) return number;
  throw malformed(text, `has ${value || 'nothing'} where ${least} to ${most} belongs`);
}

function malformed(text: string, problem: string): SkepError {
  return new SkepError('invalid_argument', `${JSON.stringify(text)} ${problem}`);
}
