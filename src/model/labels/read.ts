/** Values of labels that were checked when they were set, or their defaults. */
import { parseDurationMs } from '../duration.js';
import { invariant } from '../errors.js';
import { labelDefinition } from './table.js';

/**
 * Value of a duration key: the first of `places` that sets it (the nearest object first), else
 * its default. Values that do not parse, which only another software can have stored, count as
 * not set.
 */
export function durationLabelMs(
  key: string,
  ...places: readonly (Readonly<Record<string, string>> | undefined)[]
): number {
  for (const labels of places) {
    const valueMs = parseDurationMs(labels?.[key] ?? '');
    if (valueMs !== undefined) return valueMs;
  }
  return parseDurationMs(labelDefinition(key)?.defaultValue ?? '') ?? 0;
}

/**
 * Value of a choice key: the first of `places` that sets it to one of its choices (the nearest object
 * first), else its default.
 */
export function choiceLabel(
  key: string,
  ...places: readonly (Readonly<Record<string, string>> | undefined)[]
): string {
  const definition = labelDefinition(key);
  invariant(definition?.value.type === 'choice', `${key} is a choice`);
  const { choices } = definition.value;
  const values = places.flatMap((labels) => labels?.[key] ?? []);
  return values.find((value) => choices.includes(value)) ?? definition.defaultValue;
}

/** Value of a number key of one object, else its default; what is out of range counts as not set. */
export function numberLabel(
  key: string,
  labels: Readonly<Record<string, string>> | undefined,
): number {
  const definition = labelDefinition(key);
  invariant(definition?.value.type === 'number', `${key} is a number`);
  const value = inRange(labels?.[key] ?? '', definition.value);
  return value ?? Number(definition.defaultValue);
}

/** The whole number that `text` is, if it is within the rule; else undefined. */
export function inRange(
  text: string,
  rule: { readonly min: number; readonly max: number },
): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= rule.min && value <= rule.max ? value : undefined;
}
