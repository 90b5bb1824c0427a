/**
 * The engine's networks as the merged routes see them. A swarm network that is in use on this node
 * has a twin on the engine, marked by a label; users see one network, with the swarm's id.
 */
import { NETWORK_ID_LABEL, VXLAN_IDS_OPTION } from '../../network/network-info.js';
import type { JsonObject, JsonValue } from '../http/go-json.js';
import type { RouteContext } from './context.js';

/** One network of the engine. */
export interface EngineNetwork {
  readonly id: string;
  readonly name: string;
  /** The swarm network this is the twin of; empty for the engine's own. */
  readonly swarmId: string;
  /** The engine's description, as it came. */
  readonly fields: JsonObject;
}

/** A string field; empty if missing. */
export function stringField(object: JsonObject, key: string): string {
  const value = object.get(key);
  return typeof value === 'string' ? value : '';
}

function nested(object: JsonObject, key: string): JsonObject {
  const value = object.get(key);
  return value instanceof Map ? value : new Map<string, JsonValue>();
}

/** Reads one network. */
export function engineNetworkOf(value: JsonValue): EngineNetwork | undefined {
  if (!(value instanceof Map)) return undefined;
  return {
    id: stringField(value, 'Id'),
    name: stringField(value, 'Name'),
    swarmId:
      stringField(nested(value, 'Options'), NETWORK_ID_LABEL) ||
      stringField(nested(value, 'Labels'), NETWORK_ID_LABEL),
    fields: value,
  };
}

/** All networks of the engine that pass `filters` (the query's text). */
export async function listEngineNetworks(
  context: RouteContext,
  filters = '',
): Promise<readonly EngineNetwork[]> {
  const query = filters === '' ? '' : `?filters=${encodeURIComponent(filters)}`;
  const list = await context.engine.get(`/networks${query}`);
  if (!Array.isArray(list)) return [];
  return list.map(engineNetworkOf).filter((network) => network !== undefined);
}

/** All twins. */
export async function listTwins(context: RouteContext): Promise<readonly EngineNetwork[]> {
  const filters = JSON.stringify({ label: { [NETWORK_ID_LABEL]: true } });
  const networks = await listEngineNetworks(context, filters);
  return networks.filter(({ swarmId }) => swarmId !== '');
}

/** One network with its containers, by name or id. */
export async function findEngineNetwork(
  context: RouteContext,
  nameOrId: string,
): Promise<EngineNetwork | undefined> {
  const found = await context.engine.get(`/networks/${encodeURIComponent(nameOrId)}`);
  return found === undefined ? undefined : engineNetworkOf(found);
}

/** A twin in the form of the swarm network it stands for, for nodes that know no more. */
export function twinAsSwarmNetwork(twin: EngineNetwork): JsonObject {
  const options = nested(twin.fields, 'Options');
  const labels = new Map(nested(twin.fields, 'Labels'));
  labels.delete(NETWORK_ID_LABEL);
  const result: JsonObject = new Map(twin.fields);
  result.set('Id', twin.swarmId);
  result.set('Scope', 'swarm');
  result.set('Driver', 'overlay');
  result.set('Attachable', stringField(options, 'skep.network.attachable') === 'true');
  result.set('Ingress', stringField(options, 'skep.network.ingress') === 'true');
  result.set('Options', new Map([[VXLAN_IDS_OPTION, stringField(options, 'skep.network.vni')]]));
  result.set('Labels', labels);
  const ipam = nested(twin.fields, 'IPAM');
  const plain: JsonObject = new Map(ipam);
  plain.set('Driver', 'default');
  plain.set('Options', null);
  result.set('IPAM', plain);
  return result;
}
