/**
 * A swarm as its Docker API shows it, cut down to what makes it again: no join tokens, keys,
 * certificates or states of tasks. Read from an API or from a file that was saved before.
 */
import {
  JsonNumber,
  type JsonObject,
  type JsonValue,
  parseJsonString,
} from '../api/http/go-json.js';
import { writeJson } from '../api/http/json-text.js';
import { HIDDEN_NETWORKS_MAX, OBJECTS_MAX } from './limits.js';
import { listOf, malformed, objectOf, pick } from './json-view.js';

/** A swarm, in the API's own words. */
export interface SwarmCopy {
  readonly swarm: JsonObject;
  readonly nodes: readonly JsonObject[];
  /** Those of the swarm, `host` and `bridge` among them where services are on them. */
  readonly networks: readonly JsonObject[];
  readonly configs: readonly JsonObject[];
  readonly secrets: readonly JsonObject[];
  readonly services: readonly JsonObject[];
}

/** Asks a Docker API; the parsed body. @throws SkepError with the API's message */
export type Ask = (path: string) => Promise<JsonValue>;

const FORMAT = 'skep-import/1';

const COMMON = ['ID', 'Version', 'Spec'];
const NETWORK_KEYS = [
  ...['Id', 'Name', 'Scope', 'Driver', 'EnableIPv6', 'IPAM', 'Internal', 'Attachable', 'Ingress'],
  ...['ConfigFrom', 'Options', 'Labels', 'Created'],
];

/** Reads a swarm through the API of one of its managers. @throws SkepError */
export async function readSwarm(ask: Ask): Promise<SwarmCopy> {
  const swarm = swarmPart(await ask('/swarm'));
  const list = async (path: string) => bounded(listOf(await ask(path), path), path);
  const nodes = (await list('/nodes')).map(nodePart);
  const networks = await list(`/networks?filters=${filter({ scope: ['swarm'] })}`);
  const configs = (await list('/configs')).map((item) => pick(item, COMMON));
  const secrets = (await list('/secrets')).map((item) => pick(item, COMMON));
  const plugins = await list(`/services?filters=${filter({ runtime: ['plugin'] })}`);
  const services = [...(await list('/services')), ...plugins].map(servicePart);
  const known = networks.map(networkPart);
  const hidden: JsonObject[] = [];
  for (const id of hiddenNetworks(services, known))
    hidden.push(networkPart(await ask(`/networks/${encodeURIComponent(id)}?scope=swarm`)));
  return { swarm, nodes, networks: [...known, ...hidden], configs, secrets, services };
}

/** The copy as text to save. */
export function savedText(copy: SwarmCopy): string {
  return `${writeJson({ format: FORMAT, ...copy })}\n`;
}

/** A saved copy. @throws SkepError invalid_argument */
export function parseSaved(text: string): SwarmCopy {
  const file = objectOf(parse(text), 'the file');
  if (file.get('format') !== FORMAT) throw malformed(`its format is not ${FORMAT}`);
  const list = (key: string) => bounded(listOf(file.get(key), key), key);
  return {
    swarm: swarmPart(file.get('swarm')),
    nodes: list('nodes').map(nodePart),
    networks: list('networks').map(networkPart),
    configs: list('configs').map((item) => pick(item, COMMON)),
    secrets: list('secrets').map((item) => pick(item, COMMON)),
    services: list('services').map(servicePart),
  };
}

/** @throws SkepError invalid_argument */
export function parse(text: string): JsonValue {
  try {
    return parseJsonString(text);
  } catch {
    throw malformed('it is no JSON'); // The parser's word could quote a part of it.
  }
}

function bounded(values: readonly JsonValue[], what: string): readonly JsonValue[] {
  if (values.length > OBJECTS_MAX) throw malformed(`${what}: more than ${OBJECTS_MAX} objects`);
  return values;
}

function swarmPart(value: JsonValue | undefined): JsonObject {
  const part = pick(objectOf(value, 'the swarm'), [
    ...['ID', 'Version', 'DataPathPort', 'DefaultAddrPool', 'SubnetSize'],
  ]);
  const spec = objectOf(objectOf(value, 'the swarm').get('Spec'), 'the spec of the swarm');
  const kept: JsonObject = new Map(spec);
  // Options of an authority may hold its password.
  const authority = spec.get('CAConfig');
  const shown = pick(authority, ['NodeCertExpiry', 'ForceRotate']);
  if (authority instanceof Map) {
    const external = listOf(authority.get('ExternalCAs'), 'ExternalCAs');
    if (external.length > 0)
      shown.set(
        'ExternalCAs',
        external.map((item) => pick(item, ['Protocol'])),
      );
  }
  kept.set('CAConfig', shown);
  return part.set('Spec', kept);
}

function nodePart(value: JsonValue): JsonObject {
  const node = objectOf(value, 'a node');
  return pick(node, COMMON)
    .set('Description', pick(node.get('Description'), ['Hostname']))
    .set('Status', pick(node.get('Status'), ['State']));
}

function networkPart(value: JsonValue): JsonObject {
  return pick(objectOf(value, 'a network'), NETWORK_KEYS);
}

function servicePart(value: JsonValue): JsonObject {
  const service = objectOf(value, 'a service');
  return pick(service, COMMON).set('Endpoint', pick(service.get('Endpoint'), ['Ports']));
}

function filter(by: Readonly<Record<string, readonly string[]>>): string {
  return encodeURIComponent(JSON.stringify(by));
}

/** Ids that services name and the list of networks does not. */
function hiddenNetworks(
  services: readonly JsonObject[],
  networks: readonly JsonObject[],
): readonly string[] {
  const known = new Set(networks.map((network) => network.get('Id')));
  const hidden = new Set<string>();
  for (const service of services) {
    const spec = service.get('Spec');
    const task = spec instanceof Map ? spec.get('TaskTemplate') : undefined;
    for (const holder of [spec, task]) {
      const attached = holder instanceof Map ? holder.get('Networks') : undefined;
      for (const one of Array.isArray(attached) ? attached : []) {
        const target = one instanceof Map ? one.get('Target') : undefined;
        if (typeof target === 'string' && !known.has(target)) hidden.add(target);
      }
    }
  }
  if (hidden.size > HIDDEN_NETWORKS_MAX)
    throw malformed('services are on networks that it does not list');
  return [...hidden];
}

/** A whole number of the copy, 0 if it is not there. */
export function numberOf(value: JsonValue | undefined): number {
  return value instanceof JsonNumber ? Number(value.text) : 0;
}
