/**
 * {@link Control} on any manager: reads from the store here (which `RaftGroup.agreed` brings up to
 * date), writes on the leader, wherever it is. A write waits through an election; it is tried again
 * only while nothing can have come of it.
 */
import { createClient } from '@connectrpc/connect';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type {
  Cluster,
  Config,
  Network,
  Node,
  Secret,
  Service,
  Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  ClusterSpec,
  ConfigSpec,
  NetworkSpec,
  NodeSpec,
  SecretSpec,
  ServiceSpec,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { type WriteRequest, Writes } from '../../model/gen/skep/manager/v1/manager_pb.js';
import { fromRpcError } from '../../rpc/errors.js';
import type { LeaderLink } from '../../rpc/leader-link.js';
import type { ManagerPeer } from '../../rpc/types.js';
import { notLeading, wasNotProposed } from '../../store/proposer.js';
import { WRITE_WAIT_MS } from '../group/limits.js';
import { noLeader, type RaftGroup } from '../group/raft-group.js';
import type { ClusterRotation, Control } from './types.js';

/** What the control of any manager needs. */
export interface GroupControlOptions {
  /** Reads and writes the store of this manager. */
  readonly local: Control;
  readonly group: RaftGroup;
  readonly link: LeaderLink;
  readonly environment: Environment;
}

type Operation = WriteRequest['operation'];

/** See the file's head. */
export class GroupControl implements Control {
  readonly #local: Control;
  readonly #options: GroupControlOptions;

  constructor(options: GroupControlOptions) {
    this.#options = options;
    this.#local = options.local;
  }

  getCluster(): Cluster {
    return this.#local.getCluster();
  }

  async updateCluster(
    version: bigint,
    spec: ClusterSpec,
    rotation: ClusterRotation,
  ): Promise<Cluster> {
    await this.#write(
      {
        case: 'updateCluster',
        value: {
          $typeName: 'skep.manager.v1.ClusterUpdate',
          version,
          spec,
          rotateWorkerToken: rotation.workerJoinToken,
          rotateManagerToken: rotation.managerJoinToken,
          rotateUnlockKey: rotation.managerUnlockKey,
        },
      },
      async () => (await this.#local.updateCluster(version, spec, rotation)).id,
    );
    return this.getCluster();
  }

  listNodes(): readonly Node[] {
    return this.#local.listNodes();
  }

  getNode(id: string): Node {
    return this.#local.getNode(id);
  }

  async updateNode(id: string, version: bigint, spec: NodeSpec): Promise<Node> {
    await this.#write(
      {
        case: 'updateNode',
        value: { $typeName: 'skep.manager.v1.NodeUpdate', id, version, spec },
      },
      async () => (await this.#local.updateNode(id, version, spec)).id,
    );
    return this.getNode(id);
  }

  async removeNode(id: string, options: { readonly force: boolean }): Promise<void> {
    const value = { $typeName: 'skep.manager.v1.NodeRemoval' as const, id, force: options.force };
    await this.#write({ case: 'removeNode', value }, async () =>
      this.#local.removeNode(id, options),
    );
  }

  listNetworks(): readonly Network[] {
    return this.#local.listNetworks();
  }

  getNetwork(id: string): Network {
    return this.#local.getNetwork(id);
  }

  async createNetwork(spec: NetworkSpec): Promise<Network> {
    const id = await this.#write(
      { case: 'createNetwork', value: spec },
      async () => (await this.#local.createNetwork(spec)).id,
    );
    return this.getNetwork(id);
  }

  async removeNetwork(id: string): Promise<void> {
    await this.#write({ case: 'removeNetwork', value: id }, async () =>
      this.#local.removeNetwork(id),
    );
  }

  listServices(): readonly Service[] {
    return this.#local.listServices();
  }

  getService(id: string): Service {
    return this.#local.getService(id);
  }

  async createService(spec: ServiceSpec): Promise<Service> {
    const id = await this.#write(
      { case: 'createService', value: spec },
      async () => (await this.#local.createService(spec)).id,
    );
    return this.getService(id);
  }

  async updateService(
    id: string,
    version: bigint,
    spec: ServiceSpec,
    options: { readonly rollback: 'none' | 'previous' },
  ): Promise<Service> {
    const rollback = options.rollback === 'previous';
    await this.#write(
      {
        case: 'updateService',
        value: { $typeName: 'skep.manager.v1.ServiceUpdate', id, version, spec, rollback },
      },
      async () => (await this.#local.updateService(id, version, spec, options)).id,
    );
    return this.getService(id);
  }

  async removeService(id: string): Promise<void> {
    await this.#write({ case: 'removeService', value: id }, async () =>
      this.#local.removeService(id),
    );
  }

  listTasks(): readonly Task[] {
    return this.#local.listTasks();
  }

  getTask(id: string): Task {
    return this.#local.getTask(id);
  }

  listSecrets(): readonly Secret[] {
    return this.#local.listSecrets();
  }

  getSecret(id: string): Secret {
    return this.#local.getSecret(id);
  }

  async createSecret(spec: SecretSpec): Promise<Secret> {
    const id = await this.#write(
      { case: 'createSecret', value: spec },
      async () => (await this.#local.createSecret(spec)).id,
    );
    return this.getSecret(id);
  }

  async updateSecret(id: string, version: bigint, spec: SecretSpec): Promise<Secret> {
    await this.#write(
      {
        case: 'updateSecret',
        value: { $typeName: 'skep.manager.v1.SecretUpdate', id, version, spec },
      },
      async () => (await this.#local.updateSecret(id, version, spec)).id,
    );
    return this.getSecret(id);
  }

  async removeSecret(id: string): Promise<void> {
    await this.#write({ case: 'removeSecret', value: id }, async () =>
      this.#local.removeSecret(id),
    );
  }

  listConfigs(): readonly Config[] {
    return this.#local.listConfigs();
  }

  getConfig(id: string): Config {
    return this.#local.getConfig(id);
  }

  async createConfig(spec: ConfigSpec): Promise<Config> {
    const id = await this.#write(
      { case: 'createConfig', value: spec },
      async () => (await this.#local.createConfig(spec)).id,
    );
    return this.getConfig(id);
  }

  async updateConfig(id: string, version: bigint, spec: ConfigSpec): Promise<Config> {
    await this.#write(
      {
        case: 'updateConfig',
        value: { $typeName: 'skep.manager.v1.ConfigUpdate', id, version, spec },
      },
      async () => (await this.#local.updateConfig(id, version, spec)).id,
    );
    return this.getConfig(id);
  }

  async removeConfig(id: string): Promise<void> {
    await this.#write({ case: 'removeConfig', value: id }, async () =>
      this.#local.removeConfig(id),
    );
  }

  /** Makes the change on the leader; the store here has it afterwards. Returns the object's id. */
  async #write<R extends string | void>(operation: Operation, local: () => Promise<R>): Promise<R> {
    const { environment, group } = this.#options;
    const untilMs = environment.clock.monotonicMs() + WRITE_WAIT_MS;
    for (;;) {
      const leader = group.leader();
      try {
        if (leader === 'here') return await local();
        if (leader !== undefined) return (await this.#remote(operation, leader, untilMs)) as R;
      } catch (error) {
        if (!wasNotProposed(error)) throw error;
      }
      if (environment.clock.monotonicMs() > untilMs) throw noLeader();
      await group.nextLook();
    }
  }

  async #remote(operation: Operation, leader: ManagerPeer, untilMs: number): Promise<string> {
    const { environment, group, link } = this.#options;
    const client = createClient(Writes, await link.to(leader.addr));
    const timeoutMs = Math.max(1, Math.ceil(untilMs - environment.clock.monotonicMs()));
    let answer: { readonly id: string; readonly notLeading: boolean };
    try {
      answer = await client.write({ operation }, { timeoutMs });
    } catch (error) {
      const { code, message } = fromRpcError(error);
      // The text of the call's end would not tell a user what it means.
      if (code === 'unavailable' || code === 'canceled') throw unknownOutcome(message);
      throw fromRpcError(error);
    }
    if (answer.notLeading) throw notLeading();
    await group.agreed();
    return answer.id;
  }
}

function unknownOutcome(reason: string): SkepError {
  return new SkepError(
    'unavailable',
    `the leading manager was lost during the change, which may have been made or not: ${reason}`,
  );
}
