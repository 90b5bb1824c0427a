/**
 * Gives a task its network attachments and a node the ones of its load balancer (SwarmKit
 * manager/allocator/network.go).
 */
import { create } from '@bufbuild/protobuf';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  type Node,
  type Service,
  type Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NetworkAttachmentConfig,
  NetworkAttachmentConfigSchema,
  TaskState,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode } from '../../model/task-state.js';
import type { ReadTransaction } from '../../store/types.js';
import { slotAddress } from '../orchestrator/fixed-addresses.js';
import { withObservedState } from '../orchestrator/task.js';
import { isAllocated, isNodeLocal } from './network-allocation.js';
import type { AddressWish, Resources } from './resources.js';
import {
  findNetwork,
  fixedInUse,
  ingressNetwork,
  isServiceAllocated,
} from './service-allocation.js';

/** SwarmKit's text for a network without a free address for a task. */
export const NO_ADDRESS = 'could not find an available IP';

/** Docker's text for a requested address that is taken, or not the network's. */
export const ADDRESS_IN_USE = 'Address already in use';

/**
 * The task with its attachments, pending, which it then holds in `resources`.
 * @returns undefined while its service or one of its networks is not ready
 * @throws SkepError failed_precondition when an address is not to be had; nothing changes
 */
export function allocateTask(
  resources: Resources,
  transaction: ReadTransaction,
  environment: Environment,
  task: Task,
): Task | undefined {
  const service = task.serviceId === '' ? undefined : transaction.get('service', task.serviceId);
  if (task.serviceId !== '') {
    if (service === undefined || !isServiceAllocated(transaction, service)) return undefined;
  }
  const wishes = wantedAttachments(transaction, task, service);
  if (wishes === undefined) return undefined;
  try {
    const networks = wishes.map((wish) => attach(resources, task, service, wish));
    const present = service?.endpoint;
    // The task keeps the endpoint spec it was made with; that tells later whether it is out of date.
    const endpoint =
      present === undefined
        ? task.endpoint
        : { ...present, spec: task.endpoint?.spec ?? present.spec };
    const allocated: Task = { ...task, networks, endpoint };
    const pending = { state: TaskState.PENDING, message: 'pending task scheduling', err: '' };
    return withObservedState(environment, allocated, pending);
  } catch (error) {
    resources.observeTask(task);
    throw error;
  }
}

interface Wish {
  readonly network: Network;
  readonly config: NetworkAttachmentConfig;
}

/**
 * The attachments a task gets, the ingress network first: it is the default route. A task of a
 * service that publishes any port has it, in host mode too, so that modes can be changed without a
 * new task. A task without networks and ports gets none and runs on the engine's own network, on
 * stock engines as on ours; one on internal networks only stays cut off, as its user asked.
 */
function wantedAttachments(
  transaction: ReadTransaction,
  task: Task,
  service: Service | undefined,
): readonly Wish[] | undefined {
  const ofTask = task.spec?.networks ?? [];
  const configs = ofTask.length > 0 ? ofTask : (service?.spec?.networks ?? []);
  const wishes: Wish[] = [];
  if ((service?.spec?.endpoint?.ports.length ?? 0) > 0) {
    const network = ingressNetwork(transaction);
    if (network === undefined || !isAllocated(network)) return undefined;
    const config = create(NetworkAttachmentConfigSchema, { target: network.id });
    wishes.push({ network, config });
  }
  for (const config of configs) {
    const network = findNetwork(transaction, config.target);
    if (network === undefined || !isAllocated(network)) return undefined;
    if (wishes.every((wish) => wish.network.id !== network.id)) wishes.push({ network, config });
  }
  return wishes;
}

function attach(
  resources: Resources,
  task: Task,
  service: Service | undefined,
  { network, config }: Wish,
): NetworkAttachment {
  const attachment = create(NetworkAttachmentSchema, {
    network,
    aliases: config.aliases,
    driverAttachmentOpts: config.driverAttachmentOpts,
  });
  if (isNodeLocal(network)) return attachment;
  const wish = addressWish(task, service, network, config);
  const address = resources.allocateAddress(network.id, `task/${task.id}`, wish);
  if (address === undefined) throw new SkepError('failed_precondition', whyNot(wish, network));
  attachment.addresses = [address];
  return attachment;
}

function addressWish(
  task: Task,
  service: Service | undefined,
  network: Network,
  config: NetworkAttachmentConfig,
): AddressWish {
  const fixed = slotAddress(service, task.slot, network);
  switch (fixed.kind) {
    case 'fixed':
      return fixed;
    case 'missing': {
      const name = network.spec?.annotations?.name ?? '';
      const text = `skep.addresses.${name} has no address for slot ${task.slot}`;
      throw new SkepError('failed_precondition', text);
    }
    case 'any': {
      const address = config.addresses.find((each) => !each.includes(':'));
      return address === undefined ? fixed : { kind: 'requested', address };
    }
  }
}

function whyNot(wish: AddressWish, network: Network): string {
  switch (wish.kind) {
    case 'any':
      return NO_ADDRESS;
    case 'requested':
      return ADDRESS_IN_USE;
    case 'fixed':
      return fixedInUse(wish.address, network);
  }
}

/** The task still new, with the reason why; unchanged when it says so already. */
export function withAllocationError(environment: Environment, task: Task, err: string): Task {
  if (task.status?.err === err) return task;
  const message = task.status?.message ?? '';
  const status = { state: TaskState.NEW, message, err };
  return withObservedState(environment, task, status);
}

/**
 * The node with one attachment for each network that has a task there, and the ingress network;
 * the same object when nothing is to be changed. An attachment that finds no address is left out.
 */
export function allocateNode(
  resources: Resources,
  transaction: ReadTransaction,
  node: Node,
): { readonly node: Node; readonly complete: boolean } {
  const wanted = new Map<string, Network>();
  const ingress = ingressNetwork(transaction);
  if (ingress !== undefined && isAllocated(ingress)) wanted.set(ingress.id, ingress);
  for (const task of transaction.find('task', { by: 'node', nodeId: node.id })) {
    if (!isOnNode(task)) continue;
    for (const { network } of task.networks) {
      const current = network && transaction.get('network', network.id);
      if (current !== undefined && !isNodeLocal(current)) wanted.set(current.id, current);
    }
  }
  const kept = node.attachments.filter(
    ({ network, addresses }) =>
      network !== undefined && wanted.has(network.id) && addresses.length > 0,
  );
  for (const { network } of kept) wanted.delete(network?.id ?? '');
  if (kept.length === node.attachments.length && wanted.size === 0) {
    return { node, complete: true };
  }
  const added: NetworkAttachment[] = [];
  for (const network of wanted.values()) {
    const address = resources.allocateAddress(network.id, `node/${node.id}`);
    if (address === undefined) continue;
    added.push(create(NetworkAttachmentSchema, { network, addresses: [address] }));
  }
  const complete = added.length === wanted.size;
  if (kept.length === node.attachments.length && added.length === 0) return { node, complete };
  const allocated = { ...node, attachments: [...kept, ...added] };
  resources.observeNode(allocated);
  return { node: allocated, complete };
}
