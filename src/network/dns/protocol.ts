/**
 * What skepd and the process of the name server say to each other: messages as JSON, and how they are
 * read. The other side is root on the same host, but it may be another version, or wrong: everything is
 * looked at, and what is malformed or out of bounds yields `undefined`.
 *
 * Whatever else changes, `hello`, `dump` with its answer, and `retire` stay as they are: by them one
 * version takes over from another.
 */
import { parseIpPrefix } from '../../model/ip-prefix.js';
import { isIpv4 } from '../addresses.js';
import {
  NAME_KEY_LENGTH_MAX,
  NAME_LENGTH_MAX,
  NAMES_PER_CONTAINER_MAX,
  NAMES_PER_ROW_MAX,
  NAME_NETWORKS_MAX,
} from '../limits.js';
import type { NamedNetwork, NameRow } from './names.js';

/** Goes up when messages mean something else than before. */
export const NAME_PROTOCOL = 1;

const ID_LENGTH_MAX = 128;
const PATH_LENGTH_MAX = 4096;
const TEXT_LENGTH_MAX = 2048;
const TTL_SECONDS_MAX = 2_147_483_647;
const ROWS_PER_MESSAGE_MAX = 65_536;

/** A container and which networks' names it sees, in this order. */
export interface NamedContainer {
  readonly id: string;
  /** Path of its network namespace, where it has one already. */
  readonly sandbox: string | undefined;
  /** Addresses it asks the host's name server from. */
  readonly addresses: readonly string[];
  readonly networks: readonly string[];
}

/** What holds for all. */
export interface NameSettings {
  /** Names may still be missing: those that only tasks could have are not denied. */
  readonly isFilling: boolean;
  /** Time to live of own answers. */
  readonly ttlSeconds: number;
  /** The name server of the host: where it listens, and whose servers it asks. */
  readonly address: string;
  readonly port: number;
  readonly resolvConf: string;
}

/** A network and rows of it. */
export interface NetworkMessage {
  readonly kind: 'network';
  readonly network: NamedNetwork;
}
/** Rows that are new or changed, and keys of those that are gone. */
export interface RowsMessage {
  readonly kind: 'rows';
  readonly networkId: string;
  readonly put: readonly NameRow[];
  readonly gone: readonly string[];
}

/** From skepd. What is not said between `begin` and `commit` is forgotten. */
export type FeedMessage =
  | { readonly kind: 'begin' }
  | { readonly kind: 'commit' }
  | { readonly kind: 'settings'; readonly settings: NameSettings }
  | NetworkMessage
  | { readonly kind: 'network-gone'; readonly id: string }
  | RowsMessage
  | { readonly kind: 'container'; readonly container: NamedContainer }
  | { readonly kind: 'container-gone'; readonly id: string }
  /** To be answered once everything before is in force. */
  | { readonly kind: 'mark'; readonly number: number }
  /** All networks and rows are wanted, then `dumped`. */
  | { readonly kind: 'dump' }
  /** Give everything back, answer what has been asked, end. */
  | { readonly kind: 'retire' };

/** Who a process is. */
export interface Hello {
  readonly kind: 'hello';
  readonly protocol: number;
  /** Of the program it runs (build.ts). */
  readonly build: string;
}

/** A line for the log. */
export interface LogMessage {
  readonly kind: 'log';
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly fields: Readonly<Record<string, string | number | boolean>>;
  readonly message: string;
}

/** From the process; `hello` comes first. */
export type ReportMessage =
  | Hello
  | { readonly kind: 'applied'; readonly number: number }
  | LogMessage
  | NetworkMessage
  | RowsMessage
  | { readonly kind: 'dumped' };

/** Reads a message of skepd. */
export function parseFeed(value: unknown): FeedMessage | undefined {
  if (!isObject(value)) return undefined;
  switch (value['kind']) {
    case 'begin':
    case 'commit':
    case 'dump':
    case 'retire':
      return { kind: value['kind'] };
    case 'settings': {
      const settings = parseSettings(value['settings']);
      return settings && { kind: 'settings', settings };
    }
    case 'network':
      return parseNetwork(value);
    case 'rows':
      return parseRows(value);
    case 'container': {
      const container = parseContainer(value['container']);
      return container && { kind: 'container', container };
    }
    case 'network-gone':
    case 'container-gone': {
      const { kind, id } = value;
      return isText(id, ID_LENGTH_MAX) && id !== '' ? { kind, id } : undefined;
    }
    case 'mark':
      return isCount(value['number']) ? { kind: 'mark', number: value['number'] } : undefined;
    default:
      return undefined;
  }
}

/** Reads a message of the process. */
export function parseReport(value: unknown): ReportMessage | undefined {
  if (!isObject(value)) return undefined;
  switch (value['kind']) {
    case 'hello': {
      const { kind, protocol, build } = value;
      return isCount(protocol) && isText(build, ID_LENGTH_MAX)
        ? { kind, protocol, build }
        : undefined;
    }
    case 'applied':
      return isCount(value['number']) ? { kind: 'applied', number: value['number'] } : undefined;
    case 'log':
      return parseLog(value);
    case 'network':
      return parseNetwork(value);
    case 'rows':
      return parseRows(value);
    case 'dumped':
      return { kind: 'dumped' };
    default:
      return undefined;
  }
}

function parseSettings(value: unknown): NameSettings | undefined {
  if (!isObject(value)) return undefined;
  const { isFilling, ttlSeconds, address, port, resolvConf } = value;
  if (typeof isFilling !== 'boolean' || !isCount(ttlSeconds) || ttlSeconds > TTL_SECONDS_MAX)
    return undefined;
  if (!isAddress(address) || !isCount(port) || port > 65_535) return undefined;
  if (!isPath(resolvConf)) return undefined;
  return { isFilling, ttlSeconds, address, port, resolvConf };
}

function parseNetwork(value: Fields): NetworkMessage | undefined {
  const { network } = value;
  if (!isObject(network)) return undefined;
  const { id, name, internal, subnets } = network;
  if (!isText(id, ID_LENGTH_MAX) || id === '' || !isText(name, NAME_LENGTH_MAX)) return undefined;
  if (typeof internal !== 'boolean' || !Array.isArray(subnets)) return undefined;
  if (subnets.length > NAMES_PER_CONTAINER_MAX) return undefined;
  const parsed = subnets.map(parseSubnet);
  const whole = parsed.filter((each) => each !== undefined);
  if (whole.length !== parsed.length) return undefined;
  return { kind: 'network', network: { id, name, internal, subnets: whole } };
}

function parseSubnet(value: unknown): NamedNetwork['subnets'][number] | undefined {
  if (!isObject(value)) return undefined;
  const { subnet, subnet6 } = value;
  if (!isPrefix(subnet, 4)) return undefined;
  if (subnet6 === undefined) return { subnet };
  return isPrefix(subnet6, 6) ? { subnet, subnet6 } : undefined;
}

function parseRows(value: Fields): RowsMessage | undefined {
  const { networkId, put, gone } = value;
  if (!isText(networkId, ID_LENGTH_MAX) || !Array.isArray(put)) return undefined;
  if (put.length > ROWS_PER_MESSAGE_MAX) return undefined;
  if (!isTexts(gone, NAME_KEY_LENGTH_MAX, ROWS_PER_MESSAGE_MAX)) return undefined;
  const rows = put.map(parseRow);
  const whole = rows.filter((row) => row !== undefined);
  return whole.length === rows.length ? { kind: 'rows', networkId, put: whole, gone } : undefined;
}

function parseRow(value: unknown): NameRow | undefined {
  if (!isObject(value)) return undefined;
  const { key, name, serviceName, aliases, virtualIp, endpointIp, taskAliases } = value;
  if (!isText(key, NAME_KEY_LENGTH_MAX) || key === '' || !isText(name, NAME_LENGTH_MAX))
    return undefined;
  if (!isText(serviceName, NAME_LENGTH_MAX) || !isAddress(endpointIp)) return undefined;
  if (virtualIp !== '' && !isAddress(virtualIp)) return undefined;
  if (!isTexts(aliases, NAME_LENGTH_MAX, NAMES_PER_ROW_MAX)) return undefined;
  if (!isTexts(taskAliases, NAME_LENGTH_MAX, NAMES_PER_ROW_MAX)) return undefined;
  return { key, name, serviceName, aliases, virtualIp, endpointIp, taskAliases };
}

function parseContainer(value: unknown): NamedContainer | undefined {
  if (!isObject(value)) return undefined;
  const { id, sandbox, addresses, networks } = value;
  if (!isText(id, PATH_LENGTH_MAX) || id === '') return undefined;
  if (sandbox !== undefined && !isPath(sandbox)) return undefined;
  if (!isTexts(addresses, NAME_LENGTH_MAX, NAMES_PER_CONTAINER_MAX)) return undefined;
  if (!addresses.every(isIpv4)) return undefined;
  if (!isTexts(networks, ID_LENGTH_MAX, NAME_NETWORKS_MAX)) return undefined;
  return { id, sandbox, addresses, networks };
}

function parseLog(value: Fields): LogMessage | undefined {
  const { kind, level, fields, message } = value;
  if (kind !== 'log' || !isText(message, TEXT_LENGTH_MAX) || !isObject(fields)) return undefined;
  if (level !== 'error' && level !== 'warn' && level !== 'info' && level !== 'debug')
    return undefined;
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, each] of Object.entries(fields).slice(0, 16)) {
    if (typeof each === 'string') kept[name.slice(0, 64)] = each.slice(0, TEXT_LENGTH_MAX);
    if (typeof each === 'number' || typeof each === 'boolean') kept[name.slice(0, 64)] = each;
  }
  return { kind, level, fields: kept, message };
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown, lengthMax: number): value is string {
  return typeof value === 'string' && value.length <= lengthMax;
}

function isTexts(value: unknown, lengthMax: number, countMax: number): value is string[] {
  return (
    Array.isArray(value) &&
    value.length <= countMax &&
    value.every((each) => isText(each, lengthMax))
  );
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isAddress(value: unknown): value is string {
  return typeof value === 'string' && isIpv4(value);
}

function isPath(value: unknown): value is string {
  return isText(value, PATH_LENGTH_MAX) && value.startsWith('/') && !value.includes('\0');
}

function isPrefix(value: unknown, version: 4 | 6): value is string {
  return isText(value, 64) && parseIpPrefix(value)?.version === version;
}
