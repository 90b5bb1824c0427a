/**
 * Addresses for plain containers on attachable networks: asks the manager, then waits for the
 * attachment task that carries them to arrive with the assignments.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Network, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { AttachmentAllocator } from '../network/types.js';
import { fromRpcError } from '../rpc/errors.js';
import type { ManagerConnection } from '../rpc/types.js';
import { ATTACH_TIMEOUT_MS, RPC_TIMEOUT_MS } from './limits.js';
import type { Worker } from './worker.js';

/** {@link AttachmentAllocator} of this node. */
export class NodeAttachments implements AttachmentAllocator {
  constructor(
    private readonly connection: () => ManagerConnection | undefined,
    private readonly worker: Worker,
    private readonly clock: Clock,
  ) {}

  async attach(
    networkId: string,
    containerId: string,
    addresses: readonly string[],
  ): Promise<{ readonly attachmentId: string; readonly addresses: readonly string[] }> {
    const request = { config: { target: networkId, addresses: [...addresses] }, containerId };
    const answer = await this.call((connection) =>
      connection.resourceAllocator.attachNetwork(request, { timeoutMs: ATTACH_TIMEOUT_MS }),
    );
    const task = await this.attachmentTask(answer.attachmentId);
    return {
      attachmentId: answer.attachmentId,
      addresses: task.networks[0]?.addresses ?? [],
    };
  }

  /**
   * An attachable network by name or id, as the manager knows it: a worker cannot read the store,
   * but an attachment carries the whole network. Undefined if there is none of that name.
   * @throws SkepError permission_denied `network %s not manually attachable`
   */
  async find(nameOrId: string): Promise<Network | undefined> {
    const request = { config: { target: nameOrId, addresses: [] }, containerId: '' };
    let attachmentId: string;
    try {
      const answer = await this.call((connection) =>
        connection.resourceAllocator.attachNetwork(request, { timeoutMs: ATTACH_TIMEOUT_MS }),
      );
      attachmentId = answer.attachmentId;
    } catch (thrown) {
      const error = SkepError.from(thrown);
      if (error.code === 'not_found') return undefined;
      throw error;
    }
    try {
      return (await this.attachmentTask(attachmentId)).networks[0]?.network;
    } finally {
      await this.detach(attachmentId);
    }
  }

  async detach(attachmentId: string): Promise<void> {
    await this.call((connection) =>
      connection.resourceAllocator.detachNetwork({ attachmentId }, { timeoutMs: RPC_TIMEOUT_MS }),
    );
  }

  private async call<R>(work: (connection: ManagerConnection) => Promise<R>): Promise<R> {
    const connection = this.connection();
    if (connection === undefined) {
      throw new SkepError('unavailable', 'no session with a manager');
    }
    try {
      return await work(connection);
    } catch (thrown) {
      throw fromRpcError(thrown);
    }
  }

  /** The attachment's task, once it has arrived with its addresses. */
  private attachmentTask(taskId: string): Promise<Task> {
    return new Promise((resolve, reject) => {
      const look = (task: Task): void => {
        const addresses = task.id === taskId ? (task.networks[0]?.addresses ?? []) : [];
        if (addresses.length > 0) finish(() => resolve(task));
      };
      const finish = (settle: () => void): void => {
        timer.cancel();
        unlisten();
        settle();
      };
      const timer = this.clock.setTimer(ATTACH_TIMEOUT_MS, () => {
        const text =
          'attaching to network failed, make sure your network options are correct ' +
          'and check manager logs: context deadline exceeded';
        finish(() => reject(new SkepError('deadline_exceeded', text)));
      });
      const unlisten = this.worker.listen({ onStatus: look, onRemoved: () => undefined });
      for (const task of this.worker.tasks()) look(task);
    });
  }
}
