/**
 * The networks of this node's tasks, from before their container is made until it is gone. Changes the
 * local state; the comparisons that follow bring it into force.
 */
import { SkepError } from '../model/errors.js';
import type { Clock } from '../model/environment.js';
import type { Network, NetworkAttachment } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Logger } from '../observe/logger.js';
import type { ClusterGossip } from './cluster-gossip.js';
import type { Encryption } from './encryption/encryption.js';
import { requireEncryption } from './encryption/ingress-keys.js';
import type { EngineNetworks } from './engine-networks.js';
import {
  localPortsOf,
  localTaskOf,
  overlayAttachments,
  planAddresses,
  virtualIpsOf,
} from './from-swarmkit.js';
import { type LocalState, placeKey } from './local-state.js';
import { type NetworkInfo, networkInfoOf } from './network-info.js';
import type { RefreshSchedule } from './refresh-schedule.js';
import type { TwinSweeper } from './twin-sweeper.js';
import type { ContainerNetworking, TaskEndpoint, TaskPublication } from './types.js';

/** What it works with. */
export interface TaskNetworksParts {
  readonly state: LocalState;
  readonly twins: EngineNetworks;
  readonly sweeper: TwinSweeper;
  readonly encryption: Encryption;
  readonly gossip: ClusterGossip;
  readonly refreshes: RefreshSchedule;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of the name server. */
  readonly dnsAddress: string;
}

/** See {@link NodeNetworking}, whose methods of the same names these are. */
export class TaskNetworks {
  constructor(private readonly parts: TaskNetworksParts) {}

  /** Remembers a network; the twin stays the one it has. */
  learn(info: NetworkInfo): void {
    const { networks } = this.parts.state;
    // A changed shape needs a new twin: `ensure` compares, so what it compares with is kept.
    if (networks.get(info.id)?.engineId !== undefined) return;
    networks.set(info.id, { info });
  }

  async prepareTask(
    attachments: readonly NetworkAttachment[],
    taskId = '',
  ): Promise<ContainerNetworking> {
    const { state, twins, encryption, refreshes, clock, dnsAddress } = this.parts;
    const overlays = overlayAttachments(attachments);
    for (const { info } of overlays) await requireEncryption(encryption, info);
    const nowMs = clock.nowMs();
    for (const { info } of overlays) this.learn(info);
    for (const plan of planAddresses(overlays, taskId, nowMs)) {
      state.planned.set(placeKey(plan.networkId, plan.address), plan);
    }
    await state.save();
    // The network is followed, and its entries arrive, while the container is being made.
    refreshes.soon();
    const endpoints: ContainerNetworking['endpoints'][number][] = [];
    for (const { info, address } of overlays) {
      const engineNetworkId = await twins.ensure(info);
      endpoints.push({ engineNetworkName: info.name, engineNetworkId, address });
    }
    const dnsServers = overlays.length === 0 ? [] : [dnsAddress];
    return { endpoints: [...endpoints, ...(await this.predefined(attachments))], dnsServers };
  }

  async activate(endpoint: TaskEndpoint): Promise<void> {
    const { state, refreshes } = this.parts;
    for (const { info } of overlayAttachments(endpoint.attachments)) this.learn(info);
    const task = localTaskOf(endpoint);
    const known = state.tasks.get(task.taskId);
    const kept =
      known?.unready !== undefined && known.containerId === task.containerId
        ? { unready: known.unready }
        : {};
    state.tasks.set(task.taskId, { ...task, ...kept });
    await state.save();
    await refreshes.next();
  }

  async setReadiness(taskId: string, unready: string | undefined): Promise<void> {
    const { state, refreshes } = this.parts;
    const known = state.tasks.get(taskId);
    if (known === undefined || known.unready === unready) return;
    const { unready: _before, ...task } = known;
    state.tasks.set(taskId, unready === undefined ? task : { ...task, unready });
    await state.save();
    await refreshes.next();
  }

  async drain(taskId: string): Promise<void> {
    const { state, gossip, refreshes, logger } = this.parts;
    const task = state.tasks.get(taskId);
    if (task === undefined) return;
    state.tasks.set(taskId, { ...task, draining: true });
    // Many tasks may stop at once: one comparison for all, which does not wait for the disk. A process that
    // is killed in between is told of the stop again by the manager.
    await Promise.all([state.save(), refreshes.next()]);
    const missing = await gossip.spread(task.attachments.map(({ networkId }) => networkId));
    if (missing > 0) logger.warn({ taskId, missing }, 'not all nodes confirmed a drain');
  }

  async deactivate(taskId: string): Promise<void> {
    const { state, sweeper, refreshes } = this.parts;
    const touched = new Set<string>();
    for (const { networkId, address } of state.tasks.get(taskId)?.attachments ?? []) {
      state.planned.delete(placeKey(networkId, address));
      touched.add(networkId);
    }
    for (const [place, plan] of state.planned) {
      if (plan.taskId !== taskId || taskId === '') continue;
      state.planned.delete(place);
      touched.add(plan.networkId);
    }
    if (!state.tasks.delete(taskId) && touched.size === 0) {
      // Of a task that never came up nothing may be left here: its promise went with the endpoint,
      // when the engine took that back. It may have been the last on its networks all the same.
      for (const { info, engineId } of state.networks.values())
        if (engineId !== undefined && !info.attachable && !state.isInUse(info.id))
          touched.add(info.id);
      if (touched.size === 0) return;
    }
    await state.save();
    refreshes.soon();
    for (const networkId of touched) await sweeper.release(networkId);
    await refreshes.next();
  }

  async republish(taskId: string, publication: TaskPublication): Promise<void> {
    const { state, refreshes } = this.parts;
    const task = state.tasks.get(taskId);
    if (task === undefined) return;
    const virtual = virtualIpsOf(publication);
    const attachments = task.attachments.map((attachment) => ({
      ...attachment,
      virtualIp: virtual.get(attachment.networkId) ?? '',
    }));
    const ports = localPortsOf(publication);
    const { policy, returnPath } = publication;
    state.tasks.set(taskId, { ...task, attachments, ports, policy, returnPath });
    await state.save();
    await refreshes.next();
  }

  async ensureAttachable(network: Network): Promise<string> {
    const { twins, sweeper, encryption } = this.parts;
    const info = networkInfoOf(network);
    if (!info.attachable) {
      throw new SkepError('permission_denied', `network ${info.name} not manually attachable`);
    }
    await requireEncryption(encryption, info);
    this.learn(info);
    sweeper.touch(info.id);
    return twins.ensure(info);
  }

  /** Networks of the engine's own among the attachments (`--network host`). */
  private async predefined(
    attachments: readonly NetworkAttachment[],
  ): Promise<ContainerNetworking['endpoints']> {
    const { twins } = this.parts;
    const overlays = new Set(overlayAttachments(attachments).map(({ info }) => info.id));
    const endpoints: ContainerNetworking['endpoints'][number][] = [];
    for (const { network } of attachments) {
      if (network === undefined || overlays.has(network.id)) continue;
      const engineNetworkName = network.spec?.annotations?.name ?? '';
      const engineNetworkId = await twins.predefined(engineNetworkName);
      endpoints.push({ engineNetworkName, engineNetworkId, address: '' });
    }
    return endpoints;
  }
}
