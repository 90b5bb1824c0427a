/**
 * Own entries in the gossip tables: computes what this node should be announcing and hands gossip
 * the differences.
 */
import type { Gossip } from '../native/gossip-types.js';
import type { Logger } from '../observe/logger.js';
import { macOf } from './addresses.js';
import { ENTRY_BYTES_MAX } from './limits.js';
import type { LocalEndpoint, LocalState, LocalTask } from './local-state.js';
import { ENDPOINT_TABLE, encodeEndpoint, encodePeer, nodeKey, PEER_TABLE } from './records.js';
import type { EndpointView, HostPortView } from './view.js';

/** An entry this node owns. */
export interface OwnEntry {
  readonly networkId: string;
  readonly table: string;
  readonly key: string;
  readonly value: Uint8Array;
  /** An endpoint that is out of traffic. */
  readonly disabled?: boolean;
}

/** Named endpoints of this node: tasks that are active or draining, and plain containers. */
export function ownEndpoints(state: LocalState): readonly EndpointView[] {
  const views: EndpointView[] = [];
  for (const task of state.tasks.values()) views.push(...taskEndpoints(state, task));
  for (const container of state.containers.values()) {
    const endpoint = state.endpoints.get(container.endpointId);
    if (!state.isServing(endpoint)) continue;
    views.push({
      networkId: endpoint.networkId,
      key: endpoint.id,
      owner: undefined,
      name: container.name,
      serviceName: '',
      serviceId: '',
      virtualIp: '',
      endpointIp: endpoint.address,
      ingressPorts: [],
      aliases: [],
      taskAliases: container.aliases,
      disabled: false,
    });
  }
  return views;
}

/** Of a task only what is joined counts: a container that died is out before its task is. */
function taskEndpoints(state: LocalState, task: LocalTask): readonly EndpointView[] {
  const views: EndpointView[] = [];
  for (const { networkId, address, aliases, virtualIp } of task.attachments) {
    const endpoint = state.endpointAt(networkId, address);
    if (!state.isServing(endpoint)) continue;
    const ingress = state.networks.get(networkId)?.info.ingress ?? false;
    const published = task.ports.filter(({ mode }) => mode === 'ingress');
    views.push({
      networkId,
      key: endpoint.id,
      owner: undefined,
      name: task.taskName,
      serviceName: task.serviceName,
      serviceId: task.serviceId,
      // Also on the ingress network: a stock engine balances nothing without it.
      virtualIp,
      endpointIp: address,
      ingressPorts: ingress ? published : [],
      aliases,
      taskAliases: task.taskAliases,
      disabled: isOutOfTraffic(task),
      policy: task.policy ?? 'maglev',
      returnPath: task.returnPath ?? 'tunnel',
    });
  }
  return views;
}

function isOutOfTraffic({ draining, unready }: LocalTask): boolean {
  return draining || unready !== undefined;
}

/** Ports of local tasks in host mode, each with the address that answers for the task. */
export function ownHostPorts(state: LocalState): readonly HostPortView[] {
  const views: HostPortView[] = [];
  for (const task of state.tasks.values()) {
    const attachment =
      task.attachments.find(({ networkId }) => state.networks.get(networkId)?.info.ingress) ??
      task.attachments.find(({ networkId }) => !state.networks.get(networkId)?.info.internal);
    if (attachment === undefined) continue;
    const { networkId, address } = attachment;
    if (!state.isServing(state.endpointAt(networkId, address))) continue;
    for (const { mode, ...port } of task.ports) {
      if (mode !== 'host') continue;
      const { policy = 'maglev' } = task;
      views.push({ ...port, networkId, address, draining: isOutOfTraffic(task), policy });
    }
  }
  return views;
}

/** Everything this node should be announcing on the networks it has joined. */
export function ownEntries(state: LocalState, tunnelAddress: string): readonly OwnEntry[] {
  const entries: OwnEntry[] = [];
  const peer = (
    key: string,
    row: Pick<LocalEndpoint, 'networkId' | 'address' | 'prefixLength'>,
    mac: string,
  ) =>
    entries.push({
      networkId: row.networkId,
      table: PEER_TABLE,
      key,
      value: encodePeer({
        address: row.address,
        prefixLength: row.prefixLength,
        mac,
        tunnelAddress,
      }),
    });
  for (const endpoint of state.endpoints.values()) {
    if (state.isServing(endpoint)) peer(endpoint.id, endpoint, endpoint.mac);
  }
  const { node } = state;
  for (const attachment of node?.attachments ?? []) {
    const key = nodeKey(node?.id ?? '', attachment.networkId);
    peer(key, attachment, macOf(attachment.address));
  }
  for (const { networkId, key, owner: _owner, ...value } of ownEndpoints(state)) {
    const { disabled } = value;
    entries.push({ networkId, table: ENDPOINT_TABLE, key, value: encodeEndpoint(value), disabled });
  }
  return entries;
}

/** Remembers what gossip was told. A new gossip thread needs a new announcer. */
export class Announcer {
  private readonly gossip: Pick<Gossip, 'putEntry' | 'deleteEntry'>;
  private readonly logger: Logger;
  /** Entry identity to value in hex. */
  private readonly told = new Map<string, { readonly entry: OwnEntry; readonly text: string }>();

  constructor(gossip: Pick<Gossip, 'putEntry' | 'deleteEntry'>, logger: Logger) {
    this.gossip = gossip;
    this.logger = logger;
  }

  /** Tells gossip what changed. Networks must have been joined. */
  announce(entries: readonly OwnEntry[]): void {
    const wanted = new Map<string, OwnEntry>();
    for (const entry of entries) wanted.set(identity(entry), entry);
    for (const [id, { entry }] of this.told) {
      if (wanted.has(id)) continue;
      this.gossip.deleteEntry(entry.networkId, entry.table, entry.key);
      this.told.delete(id);
    }
    for (const [id, entry] of wanted) {
      const text = Buffer.from(entry.value).toString('hex');
      if (this.told.get(id)?.text === text) continue;
      if (entry.value.length > ENTRY_BYTES_MAX) {
        const fields = { key: entry.key, bytes: entry.value.length };
        this.logger.error(fields, 'endpoint has too many ports or aliases to be announced');
        continue;
      }
      // Stock engines take no notice of a change that brings an endpoint back, but of a new entry.
      if (this.told.get(id)?.entry.disabled === true && entry.disabled === false)
        this.gossip.deleteEntry(entry.networkId, entry.table, entry.key);
      this.gossip.putEntry(entry.networkId, entry.table, entry.key, entry.value);
      this.told.set(id, { entry, text });
    }
  }

  /** A network was left: gossip has withdrawn its entries by itself. */
  forgetNetwork(networkId: string): void {
    for (const [id, { entry }] of this.told) {
      if (entry.networkId === networkId) this.told.delete(id);
    }
  }
}

function identity(entry: OwnEntry): string {
  return `${entry.networkId} ${entry.table} ${entry.key}`;
}
