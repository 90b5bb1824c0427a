/**
 * Reserved addresses: only those whose labels asked have any, their own, and nobody while another who
 * may still be heard of has it.
 */
import { hasAddress, reservedOf } from '../../../src/model/fixed-addresses.js';
import { numberOf } from '../../../src/manager/orchestrator/fixed-addresses.js';
import type { Node, Service, Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { isOver, observedState } from '../../../src/model/task-state.js';
import type { StoreEvent } from '../../../src/store/types.js';
import { isFixedService, listsOf, vipsOf } from './fixed-labels.js';
import type { World } from './world.js';

/** Twice the default of `skep.fence_after`. */
const REST_MS = 60_000;

/** Watches a world. */
export class FixedInvariants {
  readonly #world: World;
  readonly #violated: (what: string) => void;
  /** Since when nodes are down. */
  readonly #downMs = new Map<string, number>();

  constructor(world: World, violated: (what: string) => void) {
    this.#world = world;
    this.#violated = violated;
  }

  observe(event: StoreEvent): void {
    switch (event.table) {
      case 'node':
        return this.#observeNode(event.object, event.kind === 'remove');
      case 'service':
        if (event.kind !== 'remove') this.#checkService(event.object);
        return;
      case 'task': {
        if (event.kind === 'remove') return;
        const before = event.kind === 'update' ? observedState(event.old) : undefined;
        const isNew = before !== TaskState.PENDING;
        if (isNew && observedState(event.object) === TaskState.PENDING)
          this.#checkTask(event.object);
        return;
      }
      default:
        return;
    }
  }

  #observeNode(node: Node, removed: boolean): void {
    const atMs = this.#world.environment.clock.monotonicMs();
    if (removed || node.status?.state !== NodeStatus_State.DOWN) this.#downMs.delete(node.id);
    else if (!this.#downMs.has(node.id)) this.#downMs.set(node.id, atMs);
    for (const { network, addresses } of node.attachments) {
      const address = numberOf(addresses[0]);
      if (
        network !== undefined &&
        address !== undefined &&
        hasAddress(reservedOf(network), address)
      )
        this.#violated(`node ${node.id} has a reserved address`);
    }
  }

  #checkService(service: Service): void {
    for (const address of this.#reservedVips(service)) {
      if (!isFixedService(service.id) || !vipsOf(service.id).includes(address))
        this.#violated(`service ${service.id} has the reserved ${address}`);
    }
  }

  #reservedVips(service: Service): readonly number[] {
    return (service.endpoint?.virtualIps ?? []).flatMap(({ networkId, addr }) => {
      const network = this.#world.get('network', networkId);
      const address = numberOf(addr);
      if (network === undefined || address === undefined) return [];
      return hasAddress(reservedOf(network), address) ? [address] : [];
    });
  }

  #checkTask(task: Task): void {
    for (const { network, addresses } of task.networks) {
      const address = numberOf(addresses[0]);
      if (network === undefined || address === undefined) continue;
      if (!hasAddress(reservedOf(network), address)) continue;
      const lists = isFixedService(task.serviceId) ? listsOf(task.serviceId) : [];
      const isItsOwn = lists.some(({ first }) => first + Number(task.slot) - 1 === address);
      if (!isItsOwn) this.#violated(`task ${task.id} has ${addresses[0]}, which is not its slot's`);
      for (const other of this.#world.tasksOf(task.serviceId)) {
        if (other.id === task.id || isOver(other)) continue;
        const same = other.networks.some((each) => each.addresses[0] === addresses[0]);
        if (same && !this.isLost(other))
          this.#violated(`tasks ${other.id} and ${task.id} have ${addresses[0]}`);
      }
    }
  }

  /** Whether its node has been down for so long that others may have its reserved addresses. */
  isLost({ nodeId }: Task): boolean {
    const sinceMs = this.#downMs.get(nodeId);
    const atMs = this.#world.environment.clock.monotonicMs();
    return sinceMs !== undefined && atMs - sinceMs >= REST_MS;
  }
}
