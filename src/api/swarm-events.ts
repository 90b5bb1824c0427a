/**
 * Changes of the store as Docker events of scope `swarm`: nodes, services, networks, secrets and
 * configs that were created, updated or removed (reference: moby daemon/events.go).
 */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { Meta, Node, Resource, Service } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State,
  RaftMemberStatus_Reachability,
  UpdateStatus_UpdateState,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { scaleRecordOf } from '../manager/orchestrator/scale-record.js';
import type { StoreEvent } from '../store/types.js';
import { enumText, timestampOfMs } from './convert/common.js';
import type { Filters } from './filters.js';
import { type JsonOut, sortedMap } from './http/json-text.js';

/** One event. */
export interface SwarmEvent {
  readonly type: 'node' | 'service' | 'network' | 'secret' | 'config';
  readonly action: 'create' | 'update' | 'remove' | 'autoscale';
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly time: Timestamp;
}

/** The event for a change, or undefined for tables without events. @param nowMs wall clock, for removals */
export function swarmEventOf(change: StoreEvent, nowMs: number): SwarmEvent | undefined {
  switch (change.table) {
    case 'node':
      return event(change, nodeName(change.object), nowMs, nodeChanges(change));
    case 'service':
      return event(change, change.object.spec?.annotations?.name, nowMs, serviceChanges(change));
    case 'network':
    case 'config':
      return event(change, change.object.spec?.annotations?.name, nowMs, {});
    case 'secret':
      if (change.object.internal) return undefined;
      return event(change, change.object.spec?.annotations?.name, nowMs, {});
    case 'resource':
      return change.kind === 'remove' ? undefined : autoscaleEvent(change.object, nowMs);
    case 'task':
    case 'cluster':
    case 'extension':
    case 'volume':
      return undefined;
  }
}

function nodeName(node: Node): string {
  return node.spec?.annotations?.name || (node.description?.hostname ?? '');
}

function event(
  change: Extract<StoreEvent, { table: SwarmEvent['type'] }>,
  name: string | undefined,
  nowMs: number,
  changes: Readonly<Record<string, string>>,
): SwarmEvent {
  return {
    type: change.table,
    action: change.kind,
    id: change.object.id,
    attributes: { name: name ?? '', ...changes },
    time: eventTime(change.kind, change.object.meta, nowMs),
  };
}

function eventTime(kind: StoreEvent['kind'], meta: Meta | undefined, nowMs: number): Timestamp {
  const stored = kind === 'create' ? meta?.createdAt : meta?.updatedAt;
  return kind === 'remove' || stored === undefined ? timestampOfMs(nowMs) : stored;
}

/** What was decided about a service that is scaled by its load. */
function autoscaleEvent(resource: Resource, nowMs: number): SwarmEvent | undefined {
  const record = scaleRecordOf(resource);
  if (record === undefined) return undefined;
  return {
    type: 'service',
    action: 'autoscale',
    id: record.serviceId,
    attributes: { name: record.serviceName, ...record.attributes },
    time: resource.meta?.updatedAt ?? timestampOfMs(nowMs),
  };
}

/** `key.old` and `key.new` where they differ. */
function difference(key: string, before: string, after: string): Record<string, string> {
  return before === after ? {} : { [`${key}.old`]: before, [`${key}.new`]: after };
}

function nodeChanges(change: Extract<StoreEvent, { table: 'node' }>): Record<string, string> {
  if (change.kind !== 'update') return {};
  const { object: node, old } = change;
  const changes = {
    ...difference(
      'availability',
      enumText(NodeSpec_Availability, old.spec?.availability ?? 0),
      enumText(NodeSpec_Availability, node.spec?.availability ?? 0),
    ),
    ...difference('role', enumText(NodeRole, old.role), enumText(NodeRole, node.role)),
    ...difference(
      'state',
      enumText(NodeStatus_State, old.status?.state ?? 0),
      enumText(NodeStatus_State, node.status?.state ?? 0),
    ),
  };
  const [before, after] = [old.managerStatus, node.managerStatus];
  if (before === undefined || after === undefined) return changes;
  return {
    ...changes,
    ...difference('leader', String(before.leader), String(after.leader)),
    ...difference(
      'reachability',
      enumText(RaftMemberStatus_Reachability, before.reachability),
      enumText(RaftMemberStatus_Reachability, after.reachability),
    ),
  };
}

function serviceChanges(change: Extract<StoreEvent, { table: 'service' }>): Record<string, string> {
  if (change.kind !== 'update') return {};
  const { object: service, old } = change;
  const stateOf = (of: Service) =>
    of.updateStatus && enumText(UpdateStatus_UpdateState, of.updateStatus.state);
  const [before, after] = [stateOf(old), stateOf(service)];
  const updateState: Record<string, string> = {};
  if (after !== undefined && before !== after) {
    if (before !== undefined) updateState['updatestate.old'] = before;
    updateState['updatestate.new'] = after;
  }
  return {
    ...difference('image', imageOf(old), imageOf(service)),
    ...difference('replicas', replicasOf(old), replicasOf(service)),
    ...updateState,
  };
}

function imageOf(service: Service): string {
  const runtime = service.spec?.task?.runtime;
  return runtime?.case === 'container' ? runtime.value.image : '';
}

function replicasOf(service: Service): string {
  const mode = service.spec?.mode;
  return mode?.case === 'replicated' ? mode.value.replicas.toString() : '';
}

/** Docker's event filters, as far as they concern swarm events. */
export function eventMatches(shown: SwarmEvent, filters: Filters): boolean {
  const actor = (key: string) =>
    filters.prefix(key, shown.id) || filters.prefix(key, shown.attributes['name'] ?? '');
  return (
    filters.exact('event', shown.action) &&
    filters.exact('type', shown.type) &&
    filters.exact('scope', 'swarm') &&
    filters.labels('label', shown.attributes) &&
    ['node', 'service', 'network', 'secret', 'config'].every(actor) &&
    ['daemon', 'container', 'plugin', 'volume', 'image'].every((key) => !filters.has(key))
  );
}

/** The event as a line of `/events`. */
export function eventFields(shown: SwarmEvent): JsonOut {
  return {
    Type: shown.type,
    Action: shown.action,
    Actor: { ID: shown.id, Attributes: sortedMap(shown.attributes) },
    scope: 'swarm',
    time: shown.time.seconds,
    timeNano: shown.time.seconds * 1_000_000_000n + BigInt(shown.time.nanos),
  };
}
