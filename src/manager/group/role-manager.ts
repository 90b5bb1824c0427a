/**
 * Keeps roles true (SwarmKit's role manager, leader only): a node that is to be a manager gets the
 * role, by which its next certificate is one of a manager; one that is to be a worker leaves the
 * raft members first. Also tells in the nodes' objects who leads and who answers.
 */
import { clone, create, equals } from '@bufbuild/protobuf';
import type { Environment, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { type Node, NodeSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ManagerStatus,
  ManagerStatusSchema,
  NodeRole,
  RaftMemberStatus_Reachability as Reachability,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { Logger } from '../../observe/logger.js';
import type { RaftMember } from '../../store/members.js';
import type { Store, StoreEvent } from '../../store/types.js';
import { ROLES_PERIOD_MS } from './limits.js';
import type { RaftGroup } from './raft-group.js';

/** What a role manager works with. */
export interface RoleManagerOptions {
  readonly store: Store;
  readonly group: RaftGroup;
  /** This manager's node id: it leads while this runs. */
  readonly nodeId: string;
  readonly environment: Environment;
  readonly logger: Logger;
}

/** One term's role manager. */
export class RoleManager {
  readonly #options: RoleManagerOptions;
  #timer: Timer | undefined;
  #round: Promise<void> = Promise.resolve();
  #isStopped = false;
  #unsubscribe: (() => void) | undefined;
  #isWoken = false;
  /** Nodes whose role is not the one they are to have. */
  readonly #unsettled = new Set<string>();
  /** Nodes whose object tells of a manager. */
  readonly #withStatus = new Set<string>();

  constructor(options: RoleManagerOptions) {
    this.#options = options;
  }

  /** Begins to compare; once. */
  start(): void {
    const { result: nodes, unsubscribe } = this.#options.store.viewAndSubscribe(
      (read) => read.find('node', { by: 'all' }),
      (events) => {
        // Of thousands of workers nothing is to be done here.
        if (events.filter((event) => this.#concerns(event)).length > 0) this.#arm(0);
      },
    );
    this.#unsubscribe = unsubscribe;
    for (const node of nodes) this.#note(node);
    this.#arm(0);
  }

  /** Ends; resolves when nothing runs any more. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe?.();
    this.#timer?.cancel();
    await this.#round;
  }

  /** Takes note of a change; returns whether it may need a round. */
  #concerns(event: StoreEvent): boolean {
    if (event.table !== 'node') return false;
    const { id } = event.object;
    const isMember = this.#options.group.memberOf(id) !== undefined;
    if (event.kind !== 'remove') return this.#note(event.object) || isMember;
    this.#unsettled.delete(id);
    this.#withStatus.delete(id);
    return isMember;
  }

  #note(node: Node): boolean {
    const isUnsettled = desiredRoleOf(node) !== node.role;
    if (isUnsettled) this.#unsettled.add(node.id);
    else this.#unsettled.delete(node.id);
    const hasStatus = node.managerStatus !== undefined;
    if (hasStatus) this.#withStatus.add(node.id);
    else this.#withStatus.delete(node.id);
    return isUnsettled || hasStatus;
  }

  /** The next round in `delayMs`, or after the one that runs; a round asked for at once comes once. */
  #arm(delayMs: number): void {
    if (this.#isStopped || (delayMs === 0 && this.#isWoken)) return;
    if (delayMs === 0) this.#isWoken = true;
    this.#timer?.cancel();
    this.#timer = this.#options.environment.clock.setTimer(delayMs, () => {
      this.#round = this.#round.then(async () => {
        this.#isWoken = false;
        if (!this.#isStopped) await this.#compare();
        if (!this.#isWoken) this.#arm(ROLES_PERIOD_MS);
      });
    });
  }

  async #compare(): Promise<void> {
    const { group, logger } = this.#options;
    const steps = [
      async () => group.followAddresses(),
      ...this.#nodes(this.#unsettled).map((node) => async () => this.#reconcile(node)),
      async () => this.#dropStrangers(),
      async () => this.#writeStatus(),
    ];
    for (const step of steps) {
      if (this.#isStopped) return;
      try {
        await step();
      } catch (error) {
        logger.info({ reason: SkepError.from(error).message }, 'roles are not settled yet');
      }
    }
  }

  /** In order of id. */
  #nodes(ids: ReadonlySet<string>): readonly Node[] {
    return this.#options.store.view((read) =>
      [...ids].sort().flatMap((id) => read.get('node', id) ?? []),
    );
  }

  async #reconcile(node: Node): Promise<void> {
    const desired = desiredRoleOf(node);
    if (desired === node.role) return;
    if (desired === NodeRole.WORKER) {
      const member = this.#options.group.memberOf(node.id);
      if (member !== undefined) await this.#options.group.remove(member.raftId);
    }
    this.#options.logger.info({ nodeId: node.id, role: NodeRole[desired] }, 'node gets its role');
    await this.#change(node.id, (copy) => {
      if (desiredRoleOf(copy) === desired) copy.role = desired;
    });
  }

  /** Members whose node was removed from the swarm. */
  async #dropStrangers(): Promise<void> {
    const { store, group, nodeId } = this.#options;
    for (const member of group.members()) {
      if (member.nodeId === nodeId) continue;
      const node = store.view((read) => read.get('node', member.nodeId));
      if (node === undefined) await group.remove(member.raftId);
    }
  }

  async #writeStatus(): Promise<void> {
    const byNode = new Map(this.#options.group.members().map((member) => [member.nodeId, member]));
    for (const node of this.#nodes(new Set([...this.#withStatus, ...byNode.keys()]))) {
      const member = byNode.get(node.id);
      const wanted = member === undefined ? undefined : this.#statusOf(member);
      if (isSameStatus(node.managerStatus, wanted)) continue;
      await this.#change(node.id, (copy) => {
        if (wanted === undefined) delete copy.managerStatus;
        else copy.managerStatus = wanted;
      });
    }
  }

  #statusOf(member: RaftMember): ManagerStatus {
    const { group, nodeId } = this.#options;
    return create(ManagerStatusSchema, {
      raftId: BigInt(member.raftId),
      addr: member.address,
      leader: member.nodeId === nodeId,
      reachability: group.isReachable(member) ? Reachability.REACHABLE : Reachability.UNREACHABLE,
    });
  }

  async #change(nodeId: string, change: (copy: Node) => void): Promise<void> {
    await this.#options.store.update((write) => {
      const node = write.get('node', nodeId);
      if (node === undefined) return;
      const copy = clone(NodeSchema, node);
      change(copy);
      write.update('node', copy);
    });
  }
}

function desiredRoleOf(node: Node): NodeRole {
  return node.spec?.desiredRole ?? NodeRole.WORKER;
}

function isSameStatus(a: ManagerStatus | undefined, b: ManagerStatus | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return equals(ManagerStatusSchema, a, b);
}
