/**
 * Taking over after a restart: endpoints as remembered are compared with the devices that exist,
 * the links in force and the containers the engine has; what no longer fits is cleaned.
 */
import { existsSync } from 'node:fs';
import type { Datapath, Netlink } from '../native/datapath-types.js';
import type { Logger } from '../observe/logger.js';
import type { AttachedContainers } from './attached-containers.js';
import type { EngineNetworks, TwinContainer } from './engine-networks.js';
import type { LocalEndpoint, LocalState } from './local-state.js';
import { prefixLengthOf, subnetOf } from './network-info.js';
import { endpointDeviceNames, isEndpointDevice } from './plugin/network-driver.js';

/** What is compared. */
export interface TakeoverParts {
  readonly state: LocalState;
  readonly datapath: Datapath;
  readonly netlink: Netlink;
  readonly networks: EngineNetworks;
  readonly containers: AttachedContainers;
  /** Endpoints as loaded, before the engine could call: what it makes meanwhile is not judged. */
  readonly loaded: readonly LocalEndpoint[];
  readonly logger: Logger;
}

/** Brings state, links and devices into agreement. The twins must have been recovered before. */
export async function takeOver(parts: TakeoverParts): Promise<void> {
  await recoverLostEndpoints(parts);
  await forgetDeadEndpoints(parts);
  cleanDevices(parts);
  for (const [taskId, task] of parts.state.tasks) {
    const alive = task.attachments.some(({ networkId, address }) => {
      return parts.state.endpointAt(networkId, address)?.interfaceName !== undefined;
    });
    if (!alive) parts.state.tasks.delete(taskId);
  }
  await parts.state.save();
}

/** The state file is gone but links are in force: the engine knows the endpoints. */
async function recoverLostEndpoints(parts: TakeoverParts): Promise<void> {
  const { state, datapath } = parts;
  const known = new Set([...state.endpoints.values()].map((each) => each.interfaceName));
  const lost = datapath.links().filter((link) => !known.has(link.interfaceName));
  if (lost.length === 0) return;
  for (const { info, engineId } of state.networks.values()) {
    if (engineId === undefined) continue;
    for (const container of await parts.networks.containers(engineId)) {
      const [name = ''] = endpointDeviceNames(container.endpointId);
      const link = lost.find((each) => each.interfaceName === name);
      const subnet = link && subnetOf(info, link.address);
      if (link === undefined || subnet?.vni !== link.vni) continue;
      const sandbox = await parts.containers.sandboxOf(container.containerId);
      state.endpoints.set(container.endpointId, {
        id: container.endpointId,
        networkId: info.id,
        vni: link.vni,
        address: link.address,
        prefixLength: prefixLengthOf(subnet),
        mac: link.mac,
        interfaceName: name,
        ...(sandbox === undefined ? {} : { sandbox }),
        defaultRoute: false,
      });
    }
  }
}

/**
 * Whether the container of an endpoint still has it. What the engine takes from a container while nobody
 * serves the plugin comes back to the host, both ends of it; with a container its namespace goes.
 */
function isHeld({ id, interfaceName, sandbox }: LocalEndpoint, devices: ReadonlySet<string>) {
  if (interfaceName === undefined || !devices.has(interfaceName)) return false;
  const [, containerSide = ''] = endpointDeviceNames(id);
  return !devices.has(containerSide) && (sandbox === undefined || existsSync(sandbox));
}

/** Endpoints that no container has any more: it ended, or left, while nobody served the plugin. */
async function forgetDeadEndpoints(parts: TakeoverParts): Promise<void> {
  const { state, netlink, logger } = parts;
  const devices = new Set(netlink.linkNames());
  const listed = new Map<string, readonly TwinContainer[]>();
  for (const endpoint of parts.loaded) {
    if (isHeld(endpoint, devices)) continue;
    const engineId = state.networks.get(endpoint.networkId)?.engineId;
    if (engineId !== undefined && !listed.has(engineId)) {
      listed.set(engineId, await parts.networks.containers(engineId));
    }
    const rows = engineId === undefined ? [] : (listed.get(engineId) ?? []);
    if (state.endpoints.get(endpoint.id) !== endpoint) continue;
    state.containers.delete(endpoint.id);
    if (rows.some(({ endpointId }) => endpointId === endpoint.id)) {
      const { interfaceName: _device, sandbox: _sandbox, ...left } = endpoint;
      state.endpoints.set(endpoint.id, { ...left, defaultRoute: false });
    } else {
      state.endpoints.delete(endpoint.id);
      logger.info({ endpoint: endpoint.id, address: endpoint.address }, 'stale endpoint forgotten');
    }
  }
}

/** Links in force, devices and endpoints agree afterwards. */
function cleanDevices(parts: TakeoverParts): void {
  const { state, datapath, netlink } = parts;
  const wanted = new Map<string, LocalEndpoint>();
  for (const endpoint of state.endpoints.values()) {
    if (endpoint.interfaceName !== undefined) wanted.set(endpoint.interfaceName, endpoint);
  }
  const attached = new Set<string>();
  for (const { interfaceName } of datapath.links()) {
    if (wanted.has(interfaceName)) attached.add(interfaceName);
    else datapath.detachLink(interfaceName);
  }
  const known = new Set([...wanted.values()].flatMap(({ id }) => endpointDeviceNames(id)));
  for (const name of netlink.linkNames()) {
    if (isEndpointDevice(name) && !known.has(name)) netlink.deleteLink(name);
  }
  for (const [interfaceName, { vni, address, mac }] of wanted) {
    if (!attached.has(interfaceName)) datapath.attachLink({ interfaceName, vni, address, mac });
  }
}
