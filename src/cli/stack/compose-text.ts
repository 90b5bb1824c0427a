/**
 * A loaded compose file as one to print: values that are read as numbers of a unit (nanoseconds,
 * billionths of a processor) are written with it again.
 */
import type { ComposeFile } from '../../stack/file-schema.js';
import { isMapping } from '../../stack/decode.js';

const DURATIONS = new Set([
  ...['stop_grace_period', 'interval', 'timeout', 'start_period', 'start_interval'],
  ...['delay', 'monitor', 'window'],
]);

/** Values for YAML that `skep stack deploy` reads as the same file. */
export function composeText(file: ComposeFile, hasVariables: boolean): unknown {
  // A dollar that is left is meant as one.
  const text = (value: string) => (hasVariables ? value : value.replaceAll('$', '$$$$'));
  return written(file, '', '', text);
}

function written(
  value: unknown,
  key: string,
  parent: string,
  text: (value: string) => string,
): unknown {
  if (typeof value === 'number') {
    if (DURATIONS.has(key)) return durationText(value);
    if (key === 'cpus') return String(value / 1e9);
    // Octal, as people write permissions.
    if (key === 'mode') return value.toString(8).padStart(4, '0');
    return value;
  }
  if (typeof value === 'string') return text(value);
  if (key === 'tmpfs' && Array.isArray(value)) return value.map(tmpfsText);
  if (Array.isArray(value)) return value.map((item) => written(item, '', key, text));
  if (!isMapping(value)) return value;
  const isOfWriter = ['labels', 'environment', 'options', 'driver_opts', 'sysctls'].includes(key);
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [
      name,
      written(item, isOfWriter || isSection(key, parent) ? '' : name, key, text),
    ]),
  );
}

/** Whether the keys of a mapping are names of the writer's choice. */
function isSection(key: string, parent: string): boolean {
  return parent === '' && ['services', 'networks', 'volumes', 'secrets', 'configs'].includes(key);
}

function durationText(nanoseconds: number): string {
  if (nanoseconds % 1e9 === 0) return `${nanoseconds / 1e9}s`;
  if (nanoseconds % 1e6 === 0) return `${nanoseconds / 1e6}ms`;
  return `${nanoseconds}ns`;
}

function tmpfsText(mount: unknown): unknown {
  if (!isMapping(mount)) return mount;
  const { size, mode } = isMapping(mount['tmpfs']) ? mount['tmpfs'] : {};
  const options = [
    ...(typeof size === 'number' ? [`size=${size}`] : []),
    ...(typeof mode === 'number' ? [`mode=${mode.toString(8)}`] : []),
  ];
  const target = String(mount['target']);
  return options.length === 0 ? target : `${target}:${options.join(',')}`;
}
