/**
 * What the store knows of each table: the message schema, the name of an object, whether names
 * are unique, and the index keys of an object. Index keys are strings `<index>:<value>`; a
 * selector is answered by the key that {@link selectorKey} makes of it.
 */
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import {
  ClusterSchema,
  ConfigSchema,
  ExtensionSchema,
  NetworkSchema,
  NodeSchema,
  ResourceSchema,
  SecretSchema,
  type Service,
  ServiceSchema,
  type Task,
  TaskSchema,
  VolumeSchema,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { TaskSpec } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { unreachable } from '../model/errors.js';
import type { Selector, TableName, Tables } from './types.js';

/** Any object of the store. */
export type StoreObject = Tables[TableName];

/** How one table is stored and indexed. */
export interface TableDescriptor<T extends TableName> {
  readonly schema: GenMessage<Tables[T]>;
  /** False for tasks and nodes: their names may repeat. */
  readonly uniqueNames: boolean;
  /** The name users know the object by; empty when it has none. */
  readonly name: (object: Tables[T]) => string;
  /** Index keys besides the name's. */
  readonly references: (object: Tables[T]) => readonly string[];
  /**
   * Whether what name and references are made of is shared, so that two versions of an object have the
   * same index keys for certain.
   */
  readonly sharesKeys: (before: Tables[T], after: Tables[T]) => boolean;
}

/** Tables in the order in which snapshots and hashes go through them. */
export const TABLE_NAMES = [
  'node',
  'service',
  'network',
  'task',
  'cluster',
  'secret',
  'resource',
  'extension',
  'config',
  'volume',
] as const satisfies readonly TableName[];

const NO_REFERENCES = (): readonly string[] => [];

/** Keys of the networks, secrets and configs a task specification uses. */
function specReferences(spec: TaskSpec | undefined): string[] {
  if (spec === undefined) return [];
  const keys = spec.networks.map((network) => `network:${network.target}`);
  if (spec.runtime.case === 'container') {
    for (const secret of spec.runtime.value.secrets) keys.push(`secret:${secret.secretId}`);
    for (const config of spec.runtime.value.configs) keys.push(`config:${config.configId}`);
  }
  return keys;
}

function serviceReferences(service: Service): string[] {
  const keys = specReferences(service.spec?.task);
  for (const network of service.spec?.networks ?? []) keys.push(`network:${network.target}`);
  return keys;
}

function taskReferences(task: Task): string[] {
  const keys = specReferences(task.spec);
  for (const attachment of task.networks) {
    if (attachment.network !== undefined) keys.push(`network:${attachment.network.id}`);
  }
  if (task.serviceId !== '') {
    keys.push(`service:${task.serviceId}`, `slot:${task.serviceId}/${task.slot}`);
  }
  if (task.nodeId !== '') keys.push(`node:${task.nodeId}`);
  keys.push(`desiredState:${task.desiredState}`, `taskState:${task.status?.state ?? 0}`);
  return keys;
}

function sharesTaskKeys(before: Task, after: Task): boolean {
  return (
    before.spec === after.spec &&
    before.networks === after.networks &&
    before.annotations === after.annotations &&
    before.serviceAnnotations === after.serviceAnnotations &&
    before.serviceId === after.serviceId &&
    before.slot === after.slot &&
    before.nodeId === after.nodeId &&
    before.desiredState === after.desiredState &&
    before.status?.state === after.status?.state
  );
}

/** For objects whose keys come from their specification alone. */
function sharesSpec(before: { spec?: unknown }, after: { spec?: unknown }): boolean {
  return before.spec === after.spec;
}

/** For objects whose keys come from their annotations alone. */
function sharesAnnotations(
  before: { annotations?: unknown },
  after: { annotations?: unknown },
): boolean {
  return before.annotations === after.annotations;
}

/** A task's name as SwarmKit's api/naming gives it: `service.slot.id`, or `service.node.id`. */
export function taskName(task: Task): string {
  const given = task.annotations?.name ?? '';
  if (given !== '') return given;
  const service = task.serviceAnnotations?.name ?? '';
  const place = task.slot === 0n && task.nodeId !== '' ? task.nodeId : String(task.slot);
  return `${service}.${place}.${task.id}`;
}

/** Every table's descriptor. */
export const TABLES: { readonly [T in TableName]: TableDescriptor<T> } = {
  node: {
    schema: NodeSchema,
    uniqueNames: false,
    name: (node) => node.description?.hostname ?? '',
    references: (node) => [`role:${node.role}`],
    sharesKeys: (before, after) =>
      before.description === after.description && before.role === after.role,
  },
  service: {
    schema: ServiceSchema,
    uniqueNames: true,
    name: (service) => service.spec?.annotations?.name ?? '',
    references: serviceReferences,
    sharesKeys: sharesSpec,
  },
  task: {
    schema: TaskSchema,
    uniqueNames: false,
    name: taskName,
    references: taskReferences,
    sharesKeys: sharesTaskKeys,
  },
  network: {
    schema: NetworkSchema,
    uniqueNames: true,
    name: (network) => network.spec?.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesSpec,
  },
  cluster: {
    schema: ClusterSchema,
    uniqueNames: true,
    name: (cluster) => cluster.spec?.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesSpec,
  },
  secret: {
    schema: SecretSchema,
    uniqueNames: true,
    name: (secret) => secret.spec?.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesSpec,
  },
  resource: {
    schema: ResourceSchema,
    uniqueNames: true,
    name: (resource) => resource.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesAnnotations,
  },
  extension: {
    schema: ExtensionSchema,
    uniqueNames: true,
    name: (extension) => extension.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesAnnotations,
  },
  config: {
    schema: ConfigSchema,
    uniqueNames: true,
    name: (config) => config.spec?.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesSpec,
  },
  volume: {
    schema: VolumeSchema,
    uniqueNames: true,
    name: (volume) => volume.spec?.annotations?.name ?? '',
    references: NO_REFERENCES,
    sharesKeys: sharesSpec,
  },
};

/** The descriptor of `table`, typed for it. */
export function descriptorOf<T extends TableName>(table: T): TableDescriptor<T> {
  return TABLES[table];
}

/** All index keys of an object, without repetition. */
export function indexKeys<T extends TableName>(table: T, object: Tables[T]): Set<string> {
  const descriptor = descriptorOf(table);
  const keys = new Set(descriptor.references(object));
  const name = descriptor.name(object);
  if (name !== '') keys.add(`name:${name.toLowerCase()}`);
  return keys;
}

/** The index key that answers a selector, or undefined for those answered by order or scan. */
export function selectorKey(selector: Selector): string | undefined {
  switch (selector.by) {
    case 'all':
    case 'namePrefix':
    case 'idPrefix':
      return undefined;
    case 'name':
      return `name:${selector.name.toLowerCase()}`;
    case 'service':
      return `service:${selector.serviceId}`;
    case 'node':
      return `node:${selector.nodeId}`;
    case 'slot':
      return `slot:${selector.serviceId}/${selector.slot}`;
    case 'desiredState':
      return `desiredState:${selector.state}`;
    case 'taskState':
      return `taskState:${selector.state}`;
    case 'role':
      return `role:${selector.role}`;
    case 'referencedNetwork':
      return `network:${selector.networkId}`;
    case 'referencedSecret':
      return `secret:${selector.secretId}`;
    case 'referencedConfig':
      return `config:${selector.configId}`;
    default:
      return unreachable(selector);
  }
}

/** Whether an object is selected; the definition that the indexes only speed up. */
export function isSelected<T extends TableName>(
  table: T,
  object: Tables[T],
  selector: Selector,
): boolean {
  const key = selectorKey(selector);
  if (key !== undefined) return indexKeys(table, object).has(key);
  switch (selector.by) {
    case 'namePrefix': {
      const name = descriptorOf(table).name(object).toLowerCase();
      return name !== '' && name.startsWith(selector.prefix.toLowerCase());
    }
    case 'idPrefix':
      return object.id.startsWith(selector.prefix);
    default:
      return true;
  }
}
