/**
 * What the name server should have, out of what this node knows: names of all endpoints that are in
 * traffic, and which container sees which networks. Pure.
 */
import { isIpv4 } from '../addresses.js';
import { NAME_KEY_LENGTH_MAX, NAME_LENGTH_MAX, NAMES_PER_ROW_MAX } from '../limits.js';
import type { LocalState } from '../local-state.js';
import type { EndpointView, NetworkView } from '../view.js';
import type { WantedNetwork } from './name-feed.js';
import type { NamedNetwork, NameRow } from './names.js';
import type { NamedContainer } from './protocol.js';
import type { KeepEndpoint, RememberedNames } from './remembered-names.js';

const OWN_PREFIX = 'own ';
const OTHER_PREFIX = 'other ';

/** Whether a row is of an endpoint on the node that made it. */
export function isOwnKey(key: string): boolean {
  return key.startsWith(OWN_PREFIX);
}

/** What a former process may add. */
export interface Leftovers {
  readonly remembered: RememberedNames;
  readonly keep: KeepEndpoint;
}

/** Names by network. The ingress network has none. */
export function wantedNetworks(
  networks: readonly NetworkView[],
  endpoints: readonly EndpointView[],
  leftovers?: Leftovers,
): ReadonlyMap<string, WantedNetwork> {
  const wanted = new Map<string, { network: NamedNetwork; rows: Map<string, NameRow> }>();
  const known = new Map<string, Set<string>>();
  for (const { info } of networks) {
    if (info.ingress) continue;
    wanted.set(info.id, { network: namedNetwork(info), rows: new Map() });
    known.set(info.id, new Set());
  }
  for (const endpoint of endpoints) {
    const rows = wanted.get(endpoint.networkId)?.rows;
    if (rows === undefined) continue;
    const key = `${endpoint.owner === undefined ? OWN_PREFIX : OTHER_PREFIX}${endpoint.key}`;
    if (key.length > NAME_KEY_LENGTH_MAX) continue;
    known.get(endpoint.networkId)?.add(key);
    // Draining and unhealthy endpoints have no names.
    if (!endpoint.disabled && isIpv4(endpoint.endpointIp)) rows.set(key, nameRow(key, endpoint));
  }
  if (leftovers === undefined) return wanted;
  for (const [id, { rows }] of wanted)
    leftovers.remembered.addTo(id, rows, known.get(id) ?? new Set(), leftovers.keep);
  return wanted;
}

/** Containers here that have joined a swarm network, tasks or not, by namespace (or endpoint). */
export function wantedContainers(state: LocalState): ReadonlyMap<string, NamedContainer> {
  const found = new Map<
    string,
    { sandbox: string | undefined; addresses: string[]; ids: string[] }
  >();
  for (const { id, sandbox, networkId, address, interfaceName } of state.endpoints.values()) {
    if (interfaceName === undefined) continue;
    // What the engine calls a namespace is a path; anything else could only be refused.
    if (sandbox !== undefined && !sandbox.startsWith('/')) continue;
    const container = found.get(sandbox ?? id) ?? { sandbox, addresses: [], ids: [] };
    container.addresses.push(address);
    container.ids.push(networkId);
    found.set(sandbox ?? id, container);
  }
  const nameOf = (id: string): string => state.networks.get(id)?.info.name ?? '';
  const wanted = new Map<string, NamedContainer>();
  for (const [id, { sandbox, addresses, ids }] of found) {
    const networks = [...new Set(ids)].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
    wanted.set(id, { id, sandbox, addresses, networks });
  }
  return wanted;
}

function namedNetwork({ id, name, internal, subnets }: NetworkView['info']): NamedNetwork {
  return {
    ...{ id, name: name.slice(0, NAME_LENGTH_MAX), internal },
    subnets: subnets.map(({ subnet, subnet6 }) =>
      subnet6 === undefined ? { subnet } : { subnet, subnet6 },
    ),
  };
}

function nameRow(key: string, endpoint: EndpointView): NameRow {
  const { name, serviceName, serviceId, aliases, virtualIp, endpointIp, taskAliases } = endpoint;
  const isService = serviceId !== '';
  return {
    ...{ key, endpointIp },
    name: isName(name) ? name : '',
    serviceName: isService && isName(serviceName) ? serviceName : '',
    aliases: isService ? bounded(aliases) : [],
    virtualIp: isIpv4(virtualIp) ? virtualIp : '',
    taskAliases: bounded(taskAliases),
  };
}

function isName(text: string): boolean {
  return text.length <= NAME_LENGTH_MAX;
}

function bounded(names: readonly string[]): readonly string[] {
  const isFine = names.length <= NAMES_PER_ROW_MAX && names.every(isName);
  return isFine ? names : names.filter(isName).slice(0, NAMES_PER_ROW_MAX);
}
