/** Checks of labels that users set. */
import { autoscaleProblem } from '../autoscale-labels.js';
import {
  CONTAINER_SETTINGS,
  parseAllowedSettings,
  readContainerSetting,
} from '../container-settings.js';
import { parseCron } from '../cron.js';
import { parseDurationMs } from '../duration.js';
import { SkepError } from '../errors.js';
import { parseAddressRanges, parseFixedAddress } from '../fixed-addresses.js';
import { parseNetworks, parseScope } from '../publish-rules.js';
import { parseHttpTarget, parseReadinessCommand } from '../readiness.js';
import type { LabelObject, LabelValue } from './definition.js';
import { SKEP_PREFIX } from './keys.js';
import { inRange } from './read.js';
import { LABELS, labelDefinition } from './table.js';

const SERVICE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/;
/** Names in one list of services. */
const SERVICE_NAMES_MAX = 64;

/**
 * Checks the `skep.` keys among `labels` for an object of this kind.
 * @throws SkepError invalid_argument naming the key
 */
export function checkLabels(object: LabelObject, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key.startsWith(SKEP_PREFIX)) checkLabel(object, key, value);
  }
  const problem = object === 'service' ? autoscaleProblem(labels) : undefined;
  if (problem !== undefined) throw refusal(problem);
}

/**
 * Checks one `skep.` key.
 * @throws SkepError invalid_argument
 */
export function checkLabel(object: LabelObject, key: string, value: string): void {
  const definition = key.includes('<') ? undefined : labelDefinition(key);
  if (definition === undefined) {
    const known = LABELS.filter((row) => row.objects.includes(object)).map((row) => row.key);
    const hint = known.length === 0 ? 'there are none for this object' : known.join(', ');
    throw refusal(`unknown label ${key}: keys starting with skep. are reserved (${hint})`);
  }
  if (!definition.objects.includes(object)) {
    throw refusal(`label ${key} cannot be set on a ${object}`);
  }
  checkValue(key, definition.value, value);
}

function checkValue(key: string, rule: LabelValue, value: string): void {
  switch (rule.type) {
    case 'text':
      return;
    case 'choice':
      if (rule.choices.includes(value)) return;
      throw refusal(`label ${key}: must be ${rule.choices.join(', ')}, not ${value}`);
    case 'duration':
      return checkDuration(key, rule, value);
    case 'number':
      if (inRange(value, rule) !== undefined) return;
      throw refusal(`label ${key}: must be ${rule.min} to ${rule.max}, not ${value}`);
    case 'cron':
      return checkCron(key, value);
    case 'ranges':
      if (parseAddressRanges(value) !== undefined) return;
      throw refusal(
        `label ${key}: ${value} is not a list of different IPv4 addresses such as ` +
          '10.0.9.10-10.0.9.19,10.0.9.64/28',
      );
    case 'address':
      if (parseFixedAddress(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not an IPv4 address`);
    case 'command':
      if (parseReadinessCommand(value) !== undefined) return;
      throw refusal(`label ${key}: must be a command of at most 4096 characters`);
    case 'http':
      if (parseHttpTarget(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a port and path such as :8080/ready`);
    case 'services':
      if (serviceNames(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a list of services such as db,cache`);
    case 'setting':
      if (readContainerSetting(rule.setting, value) !== undefined) return;
      throw refusal(`label ${key}: must be ${rule.setting.form.replaceAll('`', '')}, not ${value}`);
    case 'settings':
      if (parseAllowedSettings(value) !== undefined) return;
      throw refusal(
        `label ${key}: must be all or names such as ${CONTAINER_SETTINGS.map(({ name }) => name).join(',')}`,
      );
    case 'scope':
      if (parseScope(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is neither an address of a host nor an interface name`);
    case 'networks':
      if (parseNetworks(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a list of networks such as 192.0.2.0/24`);
  }
}

/** The names in a value of `skep.depends_on`; undefined if it is none. */
export function serviceNames(value: string): readonly string[] | undefined {
  const names = value.split(',').map((name) => name.trim());
  if (names.length > SERVICE_NAMES_MAX) return undefined;
  return names.every((name) => SERVICE_NAME.test(name)) ? names : undefined;
}

function checkCron(key: string, value: string): void {
  try {
    parseCron(value);
  } catch (error) {
    throw refusal(`label ${key}: ${SkepError.from(error).message}`);
  }
}

function checkDuration(
  key: string,
  rule: Extract<LabelValue, { type: 'duration' }>,
  value: string,
): void {
  const valueMs = parseDurationMs(value);
  if (valueMs === undefined) throw refusal(`label ${key}: ${value} is not a duration such as 60s`);
  if (valueMs < rule.minMs || valueMs > rule.maxMs) {
    throw refusal(`label ${key}: must be ${rule.minMs} to ${rule.maxMs} ms, not ${value}`);
  }
}

function refusal(text: string): SkepError {
  return new SkepError('invalid_argument', text);
}
