/** What a row of the table of labels says. */
import type { ContainerSetting } from '../container-settings.js';

/**
 * Where a key may be set. Labels of the `engine` and of an `engine network` are set by skepd
 * itself, never by users.
 */
export type LabelObject =
  | 'cluster'
  | 'service'
  | 'container'
  | 'node'
  | 'network'
  | 'secret'
  | 'config'
  | 'engine'
  | 'engine network';

/** What a value looks like. */
export type LabelValue =
  /** Go-style duration: `60s`, `1m30s`, `250ms`; `minMs` and `maxMs` included. */
  | { readonly type: 'duration'; readonly minMs: number; readonly maxMs: number }
  /** An address, an interface name, or `lo`. */
  | { readonly type: 'scope' }
  /** IPv4 addresses and ranges of them, separated by commas. */
  | { readonly type: 'ranges' }
  /** One IPv4 address. */
  | { readonly type: 'address' }
  /** Networks in CIDR notation, separated by commas. */
  | { readonly type: 'networks' }
  /** Names of services, separated by commas. */
  | { readonly type: 'services' }
  /** Cron's five fields. */
  | { readonly type: 'cron' }
  /** A command for a shell. */
  | { readonly type: 'command' }
  /** What a setting of a container takes. */
  | { readonly type: 'setting'; readonly setting: ContainerSetting }
  /** Names of such settings. */
  | { readonly type: 'settings' }
  /** Port and path of an HTTP probe. */
  | { readonly type: 'http' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  /** Whole number, `min` and `max` included. */
  | { readonly type: 'number'; readonly min: number; readonly max: number }
  | { readonly type: 'text' };

/** One row of the table. */
export interface LabelDefinition {
  /** `<port>` in it stands for a published port, `<network>` for a network. */
  readonly key: string;
  readonly objects: readonly LabelObject[];
  readonly value: LabelValue;
  /** Used where the key is not set; for the reader also. */
  readonly defaultValue: string;
  /** Whether a change acts at once, without new tasks. */
  readonly live: boolean;
  readonly meaning: string;
}
