/**
 * The IPAM half of the plugin. Nothing is allocated here: tasks bring the addresses a manager gave
 * them, plain containers on attachable networks get theirs from a manager at this moment.
 */
import { SkepError } from '../../model/errors.js';
import type { Logger } from '../../observe/logger.js';
import { bareAddress } from '../addresses.js';
import { ATTACH_TIMEOUT_MS } from '../limits.js';
import { type LocalNetwork, type LocalState, placeKey } from '../local-state.js';
import { NETWORK_ID_LABEL, prefixLengthOf, type SubnetInfo, subnetOf } from '../network-info.js';
import type { AttachmentAllocator } from '../types.js';
import {
  flag,
  object,
  type PluginHandler,
  type PluginRequest,
  requiredText,
  text,
} from './messages.js';

const REQUEST_TYPE = 'RequestAddressType';
const GATEWAY_TYPE = 'com.docker.network.gateway';

/** What the driver works with. */
export interface IpamDriverParts {
  readonly state: LocalState;
  readonly attachments: AttachmentAllocator;
  /** The container an address is asked for, as far as the engine shows it. */
  readonly containerWaitingFor: (network: LocalNetwork) => Promise<string>;
  readonly logger: Logger;
}

/** Handlers by plugin path. */
export class IpamDriver {
  private readonly parts: IpamDriverParts;

  constructor(parts: IpamDriverParts) {
    this.parts = parts;
  }

  /** Everything the engine may call on an IPAM driver. */
  handlers(): readonly (readonly [string, PluginHandler])[] {
    return [
      ['/IpamDriver.GetCapabilities', () => ({ RequiresMACAddress: false })],
      [
        '/IpamDriver.GetDefaultAddressSpaces',
        () => ({ LocalDefaultAddressSpace: 'skep', GlobalDefaultAddressSpace: 'skep' }),
      ],
      ['/IpamDriver.RequestPool', (request) => this.requestPool(request)],
      ['/IpamDriver.ReleasePool', () => ({})],
      ['/IpamDriver.RequestAddress', (request) => this.requestAddress(request)],
      ['/IpamDriver.ReleaseAddress', (request) => this.releaseAddress(request)],
    ];
  }

  /** Pool ids name network and subnet, so they mean the same after a restart. */
  private requestPool(request: PluginRequest): Record<string, unknown> {
    const pool = text(request, 'Pool');
    const networkId = text(object(request, 'Options'), NETWORK_ID_LABEL);
    const network = this.parts.state.networks.get(networkId);
    const subnet = network?.info.subnets.find((each) => each.subnet === pool);
    if (flag(request, 'V6') || subnet === undefined) {
      throw new SkepError(
        'invalid_argument',
        'skep networks are made by the swarm: use "docker network create --driver overlay"',
      );
    }
    return { PoolID: `${networkId}/${pool}`, Pool: pool, Data: {} };
  }

  private async requestAddress(request: PluginRequest): Promise<Record<string, unknown>> {
    const { network, subnet } = this.pool(request);
    const options = object(request, 'Options');
    const asked = text(request, 'Address');
    const answer = (address: string) => ({
      Address: `${address}/${prefixLengthOf(subnet)}`,
      Data: {},
    });
    if (text(options, REQUEST_TYPE) === GATEWAY_TYPE) return answer(subnet.gateway);
    if (asked !== '') {
      const address = bareAddress(asked);
      if (address === undefined || subnetOf(network.info, address) !== subnet) {
        throw new SkepError('invalid_argument', `address ${asked} is not in ${subnet.subnet}`);
      }
      if (this.isOurs(network.info.id, address)) return answer(address);
    }
    return answer(await this.attach(network, subnet, asked));
  }

  /** Promised to a task, or given out earlier and asked for again by a restarted engine. */
  private isOurs(networkId: string, address: string): boolean {
    const { state } = this.parts;
    const place = placeKey(networkId, address);
    return (
      state.planned.has(place) ||
      state.leases.has(place) ||
      state.endpointAt(networkId, address) !== undefined
    );
  }

  private async attach(network: LocalNetwork, subnet: SubnetInfo, asked: string): Promise<string> {
    const { state, attachments, containerWaitingFor } = this.parts;
    const container = await containerWaitingFor(network);
    const addresses = asked === '' ? [] : [asked];
    const lease = await withTimeout(
      attachments.attach(network.info.id, container, addresses),
      (late) => attachments.detach(late.attachmentId),
    );
    const address = lease.addresses
      .map(bareAddress)
      .find((each) => each !== undefined && subnetOf(network.info, each) === subnet);
    if (address === undefined) {
      await attachments.detach(lease.attachmentId);
      throw new SkepError('failed_precondition', `no address in ${subnet.subnet} was allocated`);
    }
    const row = { networkId: network.info.id, address, attachmentId: lease.attachmentId };
    state.leases.set(placeKey(row.networkId, address), row);
    await state.save();
    return address;
  }

  private async releaseAddress(request: PluginRequest): Promise<Record<string, unknown>> {
    // The engine gives back what it never had: an address of a family for which it asked for no pool.
    if (text(request, 'PoolID') === '') return {};
    const { network } = this.pool(request);
    const address = bareAddress(requiredText(request, 'Address'));
    if (address === undefined) throw new SkepError('invalid_argument', 'Address is malformed');
    const { state, attachments, logger } = this.parts;
    const place = placeKey(network.info.id, address);
    const lease = state.leases.get(place);
    if (lease === undefined) return {};
    state.leases.delete(place);
    await state.save();
    // The container is gone whatever a manager says; the manager also notices by itself.
    attachments.detach(lease.attachmentId).catch((error: unknown) => {
      const err = SkepError.from(error).message;
      logger.warn({ err, attachment: lease.attachmentId }, 'network attachment was not released');
    });
    return {};
  }

  private pool(request: PluginRequest): { network: LocalNetwork; subnet: SubnetInfo } {
    const id = requiredText(request, 'PoolID');
    const slash = id.indexOf('/');
    const network = this.parts.state.networks.get(id.slice(0, slash));
    const subnet = network?.info.subnets.find((each) => each.subnet === id.slice(slash + 1));
    if (network === undefined || subnet === undefined) {
      throw new SkepError('not_found', `unknown address pool ${id.slice(0, 100)}`);
    }
    return { network, subnet };
  }
}

/** Waits at most {@link ATTACH_TIMEOUT_MS}; an answer that comes later is given back. */
async function withTimeout<T>(
  answer: Promise<T>,
  giveBack: (late: T) => Promise<void>,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let expired = false;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      expired = true;
      reject(new SkepError('deadline_exceeded', 'context deadline exceeded'));
    }, ATTACH_TIMEOUT_MS);
  });
  answer.then(
    (late) => (expired ? giveBack(late).catch(() => undefined) : undefined),
    () => undefined,
  );
  try {
    return await Promise.race([answer, timeout]);
  } catch (error) {
    const { message, code } = SkepError.from(error);
    throw new SkepError(
      code,
      `attaching to network failed, make sure your network options are correct and check manager logs: ${message}`,
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
  }
}
