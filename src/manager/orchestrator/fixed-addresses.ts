/**
 * Tasks against the addresses that the labels of their service ask for: which one a slot gets, and
 * whether a task has another. A task keeps its addresses for life, so that it has to be replaced then.
 */
import { runsSkepd } from '../../model/agent-kind.js';
import {
  fixedAddresses,
  fixedVip,
  hasAddress,
  nthAddress,
  parseFixedAddress,
  reservedOf,
} from '../../model/fixed-addresses.js';
import type {
  Network,
  Node,
  Service,
  Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { isOnNode, serviceMode } from '../../model/task-state.js';

/** What the labels of a service say about a slot on a network. */
export type SlotAddress =
  /** Nothing: it gets any address. */
  | { readonly kind: 'any' }
  | { readonly kind: 'fixed'; readonly address: number }
  /** Fewer addresses are named than there are slots. */
  | { readonly kind: 'missing' };

const ANY: SlotAddress = { kind: 'any' };

/** Of a slot; only replicated services have any. */
export function slotAddress(
  service: Service | undefined,
  slot: bigint,
  network: Network,
): SlotAddress {
  if (service === undefined || serviceMode(service) !== 'replicated') return ANY;
  const named = fixedAddresses(service.spec?.annotations?.labels, network);
  if (named === undefined) return ANY;
  const address = nthAddress(named, Number(slot));
  return address === undefined ? { kind: 'missing' } : { kind: 'fixed', address };
}

/** An attachment's address, or a virtual one, without its prefix length. */
export function numberOf(address: string | undefined): number | undefined {
  return parseFixedAddress(address?.split('/')[0] ?? '');
}

/**
 * Whether the task has to be replaced for the addresses that its service asks for now: for its own, or,
 * where the task does not follow its service, for the virtual one.
 */
export function hasOtherAddresses(service: Service, task: Task, node: Node | undefined): boolean {
  const follows = runsSkepd(node) && isOnNode(task);
  return task.networks.some(({ network, addresses }) => {
    if (network === undefined) return false;
    const address = numberOf(addresses[0]);
    if (
      address !== undefined &&
      isOther(slotAddress(service, task.slot, network), network, address)
    )
      return true;
    if (follows) return false;
    const virtual = task.endpoint?.virtualIps.find(({ networkId }) => networkId === network.id);
    const vip = numberOf(virtual?.addr);
    if (vip === undefined) return false;
    const wanted = fixedVip(service.spec?.annotations?.labels, network);
    return isOther(wanted === undefined ? ANY : { kind: 'fixed', address: wanted }, network, vip);
  });
}

function isOther(wanted: SlotAddress, network: Network, actual: number): boolean {
  switch (wanted.kind) {
    case 'any':
      return hasAddress(reservedOf(network), actual);
    case 'fixed':
      return actual !== wanted.address;
    case 'missing':
      return false;
  }
}
