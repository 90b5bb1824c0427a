/**
 * Nodes: labels, availability and role by spec, and removal with the node's certificate put on
 * the list of removed ones (SwarmKit controlapi/node.go).
 */
import { clone, create } from '@bufbuild/protobuf';
import { runsSkepd } from '../../model/agent-kind.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  MetaSchema,
  type Node,
  NodeSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { type NodeSpec, NodeSpecSchema } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State as NodeState,
  VersionSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { encryptionPorts } from '../../model/swarm-ports.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import { orphanTask } from '../orchestrator/lost-tasks.js';
import { checkSkepLabels, precondition } from './annotations.js';
import { checkEncryptionPorts } from './port-conflicts.js';
import { blacklistNode } from '../ca/cluster-root.js';
import { theCluster } from './cluster-control.js';

/** What is known of the managers' raft group. */
export interface ManagerGroup {
  /** Whether the node is a member. */
  isMember(nodeId: string): boolean;
  /** Whether a quorum would remain without the node. */
  canRemove(nodeId: string): boolean;
}

/** Reads and writes of nodes. */
export class NodeControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
    private readonly managers: ManagerGroup,
  ) {}

  list(): readonly Node[] {
    return this.store.view((read) => read.find('node', { by: 'all' }));
  }

  get(id: string): Node {
    return this.store.view((read) => required(read, id));
  }

  async update(id: string, version: bigint, spec: NodeSpec): Promise<Node> {
    checkSkepLabels('node', spec.annotations);
    await this.store.update((write) => {
      const node = clone(NodeSchema, required(write, id));
      const before = node.spec?.annotations?.labels;
      const isMoved = encryptionPorts(before)[0] !== encryptionPorts(spec.annotations?.labels)[0];
      if (isMoved) checkEncryptionPorts(write, spec);
      const demoted =
        node.spec?.desiredRole === NodeRole.MANAGER && spec.desiredRole === NodeRole.WORKER;
      if (demoted) this.checkDemotion(write, node);
      const promoted =
        node.spec?.desiredRole !== NodeRole.MANAGER && spec.desiredRole === NodeRole.MANAGER;
      if (promoted && !runsSkepd(node)) {
        throw precondition(
          `node ${id} runs a stock Docker Engine: only nodes that run skepd can be managers`,
        );
      }
      node.meta ??= create(MetaSchema);
      node.meta.version = create(VersionSchema, { index: version });
      node.spec = clone(NodeSpecSchema, spec);
      write.update('node', node);
    });
    return this.get(id);
  }

  /** Its tasks are orphaned: once the node is gone nobody speaks for them (SwarmKit controlapi/node.go). */
  async remove(id: string, options: { readonly force: boolean }): Promise<void> {
    const tasks = this.store.view((read) => {
      this.checkRemoval(read, id, options);
      return read.find('task', { by: 'node', nodeId: id });
    });
    // More of them than an entry has room for; what comes meanwhile goes with the node.
    await this.store.batch(
      tasks.map((task) => (write) => orphanTask(write, this.environment, task.id)),
    );
    await this.store.update((write) => {
      const node = this.checkRemoval(write, id, options);
      const nowMs = this.environment.clock.nowMs();
      write.update('cluster', blacklistNode(theCluster(write), node, nowMs));
      for (const task of write.find('task', { by: 'node', nodeId: id })) {
        orphanTask(write, this.environment, task.id);
      }
      write.delete('node', id);
    });
  }

  private checkRemoval(
    read: ReadTransaction,
    id: string,
    options: { readonly force: boolean },
  ): Node {
    const node = required(read, id);
    if (node.spec?.desiredRole === NodeRole.MANAGER && this.managers.isMember(id)) {
      throw precondition(
        `node ${id} is a cluster manager and is a member of the raft cluster. ` +
          'It must be demoted to worker before removal',
      );
    }
    if (!options.force && node.status?.state === NodeState.READY) {
      throw precondition(`node ${id} is not down and can't be removed`);
    }
    return node;
  }

  private checkDemotion(read: ReadTransaction, node: Node): void {
    const managers = read.find('node', { by: 'role', role: NodeRole.MANAGER });
    if (managers.length === 1 && managers[0]?.id === node.id) {
      throw precondition('attempting to demote the last manager of the swarm');
    }
    if (!this.managers.isMember(node.id)) {
      throw new SkepError('not_found', "can't find manager in raft memberlist");
    }
    if (!this.managers.canRemove(node.id)) {
      throw precondition(
        "can't remove member from the raft: this would result in a loss of quorum",
      );
    }
  }
}

function required(read: ReadTransaction, id: string): Node {
  const node = read.get('node', id);
  if (node === undefined) throw new SkepError('not_found', `node ${id} not found`);
  return node;
}
