/**
 * A copy of a swarm read as SwarmKit's specs, with the API's own readers. What one object holds that
 * these do not take is that object's trouble, not the swarm's.
 */
import { create } from '@bufbuild/protobuf';
import { clusterSpecFields, mergeClusterSpec } from '../api/convert/cluster.js';
import { networkSpecFromJson } from '../api/convert/network.js';
import { nodeSpecFromJson } from '../api/convert/node.js';
import { configSpecFromJson, secretSpecFromJson } from '../api/convert/secret.js';
import { serviceSpecFields, serviceSpecFromJson } from '../api/convert/service.js';
import type { JsonObject, JsonValue } from '../api/http/go-json.js';
import { GoStruct } from '../api/http/go-struct.js';
import { SkepError } from '../model/errors.js';
import {
  type ClusterSpec,
  ClusterSpecSchema,
  type ConfigSpec,
  type NetworkSpec,
  type NodeSpec,
  type SecretSpec,
  type ServiceSpec,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { changedPlaces } from '../stack/diff.js';
import { malformed, objectOf, plain, plainFields } from './json-view.js';
import { keepGivenPorts } from './references.js';
import { type SwarmCopy, numberOf } from './swarm-copy.js';

/** One object, or why it cannot be read. */
export interface Seen<Spec> {
  readonly id: string;
  readonly name: string;
  /** For updates. */
  readonly version: string;
  readonly spec: Spec | undefined;
  /** Why there is no spec. */
  readonly fault: string;
}

/** A node; its name is its host's. */
export interface SeenNode extends Seen<NodeSpec> {
  readonly isDown: boolean;
}

/** A service. */
export interface SeenService extends Seen<ServiceSpec> {
  /** Ports that the swarm has chosen, and that `spec` now publishes under their numbers. */
  readonly keptPorts: readonly string[];
  /** Places of the spec that nobody here knows. */
  readonly unknown: readonly string[];
}

/** What the whole swarm is set to. */
export interface SwarmSettings {
  readonly version: string;
  readonly spec: ClusterSpec;
  readonly unknown: readonly string[];
  readonly dataPathPort: number;
  readonly addressPools: readonly string[];
  readonly subnetSize: number;
}

/** A swarm. */
export interface SwarmView {
  readonly id: string;
  readonly settings: SwarmSettings;
  readonly nodes: readonly SeenNode[];
  readonly networks: readonly Seen<NetworkSpec>[];
  readonly configs: readonly Seen<ConfigSpec>[];
  readonly secrets: readonly Seen<SecretSpec>[];
  readonly services: readonly SeenService[];
}

/** Driver option with identifiers that the swarm itself has given. */
const GIVEN_IDENTIFIERS = 'com.docker.network.driver.overlay.vxlanid_list';

/** @throws SkepError invalid_argument where it is no swarm at all */
export function viewSwarm(copy: SwarmCopy): SwarmView {
  return {
    id: textOf(copy.swarm, 'ID'),
    settings: settingsOf(copy.swarm),
    nodes: copy.nodes.map(nodeOf),
    networks: unique('networks', withoutStale(copy.networks).map(networkOf)),
    configs: unique(
      'configs',
      copy.configs.map((item) => seen(item, (spec) => configSpecFromJson(spec))),
    ),
    secrets: unique(
      'secrets',
      copy.secrets.map((item) => seen(item, (spec) => secretSpecFromJson(spec))),
    ),
    services: unique('services', copy.services.map(serviceOf)),
  };
}

function settingsOf(swarm: JsonObject): SwarmSettings {
  const raw = objectOf(swarm.get('Spec'), 'the spec of the swarm');
  const json = GoStruct.root(swarm, 'swarm.Swarm');
  try {
    const spec = mergeClusterSpec(json.nested('Spec', 'swarm.Spec'), create(ClusterSpecSchema));
    return {
      version: versionOf(swarm),
      spec,
      unknown: changedPlaces(plain(raw), plainFields(clusterSpecFields(spec))),
      dataPathPort: numberOf(swarm.get('DataPathPort')),
      addressPools: json.strings('DefaultAddrPool'),
      subnetSize: numberOf(swarm.get('SubnetSize')),
    };
  } catch (error) {
    throw malformed(SkepError.from(error).message);
  }
}

function nodeOf(node: JsonObject): SeenNode {
  const host = GoStruct.root(node.get('Description') ?? null, 'swarm.NodeDescription');
  const state = GoStruct.root(node.get('Status') ?? null, 'swarm.NodeStatus');
  const name = host.string('Hostname');
  return {
    ...seen(node, (spec) => nodeSpecFromJson(spec)),
    name,
    isDown: state.string('State') !== 'ready',
  };
}

/** An engine that was in another swarm before may still list that one's networks beside its own. */
function withoutStale(networks: readonly JsonObject[]): readonly JsonObject[] {
  const newest = new Map<string, JsonObject>();
  for (const network of networks) {
    const name = textOf(network, 'Name');
    const other = newest.get(name);
    if (other === undefined || textOf(other, 'Created') < textOf(network, 'Created'))
      newest.set(name, network);
  }
  return [...newest.values()];
}

function networkOf(network: JsonObject): Seen<NetworkSpec> {
  const json = GoStruct.root(network, 'types.NetworkResource');
  return {
    id: required(network, 'Id'),
    name: required(network, 'Name'),
    version: '',
    ...attempt(() => {
      const spec = networkSpecFromJson(json);
      delete spec.driverConfig?.options[GIVEN_IDENTIFIERS];
      return spec;
    }),
  };
}

function serviceOf(service: JsonObject): SeenService {
  const read = seen(service, (spec) => serviceSpecFromJson(spec, () => ''));
  const { spec } = read;
  if (spec === undefined) return { ...read, keptPorts: [], unknown: [] };
  const raw = service.get('Spec') ?? null;
  const unknown = changedPlaces(plain(raw), plainFields(serviceSpecFields(spec)));
  const endpoint = GoStruct.root(service, 'swarm.Service').nested('Endpoint', 'swarm.Endpoint');
  const keptPorts = keepGivenPorts(spec, endpoint.structs('Ports', 'swarm.PortConfig'));
  return { ...read, keptPorts, unknown };
}

function seen<Spec>(object: JsonObject, read: (spec: GoStruct) => Spec): Seen<Spec> {
  const spec = objectOf(object.get('Spec'), 'the spec of an object');
  const name = spec.get('Name');
  return {
    id: required(object, 'ID'),
    name: typeof name === 'string' ? name : '',
    version: versionOf(object),
    ...attempt(() => read(GoStruct.root(spec, 'swarm.Spec'))),
  };
}

function attempt<Spec>(read: () => Spec): Pick<Seen<Spec>, 'spec' | 'fault'> {
  try {
    return { spec: read(), fault: '' };
  } catch (error) {
    return { spec: undefined, fault: SkepError.from(error).message };
  }
}

function versionOf(object: JsonObject): string {
  const version = object.get('Version');
  return version instanceof Map ? String(numberOf(version.get('Index'))) : '';
}

function textOf(object: JsonObject, key: string): string {
  const value: JsonValue | undefined = object.get(key);
  return typeof value === 'string' ? value : '';
}

function required(object: JsonObject, key: string): string {
  const value = textOf(object, key);
  if (value === '') throw malformed(`an object without ${key}`);
  return value;
}

/** Names tell objects of a kind apart here, and ids in what refers to them. */
function unique<S extends Seen<unknown>>(kind: string, objects: readonly S[]): readonly S[] {
  const ids = new Set(objects.map(({ id }) => id));
  const names = new Set(objects.map(({ name }) => name));
  if (names.has('')) throw malformed(`${kind}: an object without a name`);
  if (ids.size !== objects.length || names.size !== objects.length)
    throw malformed(`${kind}: two with the same name or id`);
  return objects;
}
