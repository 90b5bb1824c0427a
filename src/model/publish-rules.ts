/**
 * The `skep.publish.<port>.…` labels of a service: on which of a node's addresses a published port
 * answers, and which client networks may use it. They are labels because Swarm's PortConfig has no
 * field for either.
 */
import { isIP, SocketAddress } from 'node:net';
import { firstAddress, formatIpv4, type IpPrefix, parseIpPrefix } from './ip-prefix.js';

/** What a label key looks like: the port, then what is said about it. */
const KEY = /^skep\.publish\.([1-9]\d{0,4})\.(address|allow)$/;

/** The kernel's limit of an interface name, less the end of the string. */
const INTERFACE_NAME = /^[A-Za-z0-9_.@-]{1,15}$/;

/**
 * Most bytes of all client networks of a service, counted as 5 for an IPv4 and 17 for an IPv6
 * network: they travel in the gossip entry of each task, which has to fit one packet.
 */
export const ALLOW_BYTES_MAX = 400;

/** Scope of a port that only sockets of the node itself may use. */
export const LOOPBACK_SCOPE = 'lo';

/** What the labels say about one published port, whatever its protocol. */
export interface PublishRule {
  /**
   * Where it answers: an address in canonical text, an interface name, or {@link LOOPBACK_SCOPE}.
   * Undefined: on every address of the node.
   */
  readonly scope: string | undefined;
  /** Client networks in canonical text, sorted; undefined: everybody. */
  readonly allow: readonly string[] | undefined;
}

/** Port and kind of a label key; undefined when it is none of these. */
export function publishLabel(
  key: string,
): { readonly port: number; readonly kind: 'address' | 'allow' } | undefined {
  const match = KEY.exec(key);
  const port = Number(match?.[1]);
  if (match === null || port > 65_535) return undefined;
  return { port, kind: match[2] === 'allow' ? 'allow' : 'address' };
}

/** The scope an `address` label names; undefined when malformed. */
export function parseScope(text: string): string | undefined {
  if (text === LOOPBACK_SCOPE) return LOOPBACK_SCOPE;
  const version = isIP(text);
  if (version === 0) {
    // What is nearly an address is a typing error rather than an interface.
    return INTERFACE_NAME.test(text) && /[A-Za-z]/.test(text) ? text : undefined;
  }
  const address = canonicalAddress(text);
  if (address.startsWith('127.') || address === '::1') return LOOPBACK_SCOPE;
  const first = Number(address.split('.')[0]);
  const unusable =
    version === 4
      ? first === 0 || first >= 224
      : address === '::' || /^(ff|fe[89ab])/.test(address);
  return unusable ? undefined : address;
}

/** The networks an `allow` label names, sorted and without duplicates; undefined when malformed. */
export function parseNetworks(text: string): readonly string[] | undefined {
  const networks = new Set<string>();
  for (const part of text.split(',').map((each) => each.trim())) {
    const full = part.includes('/') ? part : `${part}/${isIP(part) === 6 ? 128 : 32}`;
    const prefix = isIP(full.split('/')[0] ?? '') === 0 ? undefined : parseIpPrefix(full);
    if (prefix === undefined) return undefined;
    networks.add(formatPrefix(prefix));
  }
  return [...networks].sort();
}

/** Bytes of {@link ALLOW_BYTES_MAX} that these networks take. */
export function networksBytes(networks: readonly string[]): number {
  return networks.reduce((sum, network) => sum + (network.includes(':') ? 17 : 5), 0);
}

/**
 * All rules among a service's labels, by published port. Malformed ones, which only a manager of
 * other make lets pass, close the port: to everybody, or to all but the node itself.
 */
export function publishRules(
  labels: Readonly<Record<string, string>> | undefined,
): ReadonlyMap<number, PublishRule> {
  const rules = new Map<number, PublishRule>();
  for (const [key, value] of Object.entries(labels ?? {})) {
    const label = publishLabel(key);
    if (label === undefined) continue;
    const rule = rules.get(label.port) ?? { scope: undefined, allow: undefined };
    if (label.kind === 'address')
      rules.set(label.port, { ...rule, scope: parseScope(value) ?? LOOPBACK_SCOPE });
    else rules.set(label.port, { ...rule, allow: parseNetworks(value) ?? [] });
  }
  return rules;
}

/** Whether two services have the same rules. */
export function samePublishRules(
  a: Readonly<Record<string, string>> | undefined,
  b: Readonly<Record<string, string>> | undefined,
): boolean {
  return rulesText(publishRules(a)) === rulesText(publishRules(b));
}

/** The rules as one text, for comparison. */
export function rulesText(rules: ReadonlyMap<number, PublishRule>): string {
  const line = ([port, { scope, allow }]: readonly [number, PublishRule]): string =>
    `${port} ${scope ?? 'everywhere'} ${allow?.join(',') ?? 'everybody'}`;
  return [...rules]
    .sort(([a], [b]) => a - b)
    .map(line)
    .join('\n');
}

/**
 * Whether two scopes of one port may mean the same address of some node. An address and an
 * interface, or two interfaces of different names, are told apart by nobody but the node; only the
 * latter never share an address.
 */
export function scopesOverlap(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || a === b) return true;
  if (a === LOOPBACK_SCOPE || b === LOOPBACK_SCOPE) return false;
  return isIP(a) === 0 ? isIP(b) !== 0 : isIP(b) === 0;
}

/** Client networks that are in both lists; undefined is everybody. */
export function commonNetworks(
  a: readonly string[] | undefined,
  b: readonly string[] | undefined,
): readonly string[] | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  const common = new Set<string>();
  for (const inner of [...a, ...b]) {
    if ([a, b].every((list) => list.some((outer) => isWithin(inner, outer)))) common.add(inner);
  }
  return [...common].sort();
}

function isWithin(inner: string, outer: string): boolean {
  const [a, b] = [parseIpPrefix(inner), parseIpPrefix(outer)];
  if (a === undefined || b === undefined || a.version !== b.version) return false;
  return a.length >= b.length && firstAddress({ ...a, length: b.length }) === firstAddress(b);
}

function formatPrefix(prefix: IpPrefix): string {
  const first = firstAddress(prefix);
  if (prefix.version === 4) return `${formatIpv4(first)}/${prefix.length}`;
  const digits = first.toString(16).padStart(32, '0');
  const groups = Array.from({ length: 8 }, (_, index) => digits.slice(index * 4, index * 4 + 4));
  return `${canonicalAddress(groups.join(':'))}/${prefix.length}`;
}

function canonicalAddress(text: string): string {
  const family = isIP(text) === 6 ? 'ipv6' : 'ipv4';
  return new SocketAddress({ address: text, family }).address;
}
