/**
 * Attachments of plain containers to attachable networks (SwarmKit manager/resourceapi): a task that
 * is only an address, pinned to the node that asked. The allocator gives it its addresses and the
 * dispatcher brings them to the node.
 */
import { create } from '@bufbuild/protobuf';
import { timestampNow } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { type Network, TaskSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  AttachNetworkRequest,
  DetachNetworkRequest,
} from '../../model/gen/docker/swarmkit/v1/resource_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../../model/ids.js';
import type { ReadTransaction, Store } from '../../store/types.js';

/** Longest container id, and most fixed addresses, an agent may ask with. */
const CONTAINER_ID_LENGTH_MAX = 128;
const ADDRESSES_MAX = 16;

/** Creates and deletes attachment tasks. */
export class ResourceAllocator {
  readonly #store: Store;
  readonly #env: Environment;

  constructor(options: { store: Store; env: Environment }) {
    this.#store = options.store;
    this.#env = options.env;
  }

  /**
   * Creates an attachment for a container of `nodeId`; returns its id.
   * @throws SkepError not_found `network %s not found`; permission_denied `network %s not manually
   *   attachable`; invalid_argument
   */
  async attach(nodeId: string, request: AttachNetworkRequest): Promise<string> {
    const target = request.config?.target ?? '';
    const addresses = request.config?.addresses ?? [];
    const isSane =
      target !== '' &&
      request.containerId.length <= CONTAINER_ID_LENGTH_MAX &&
      addresses.length <= ADDRESSES_MAX;
    if (!isSane) throw new SkepError('invalid_argument', 'invalid argument');
    return this.#store.update((write) => {
      const network = findNetwork(write, target);
      if (network === undefined) {
        throw new SkepError('not_found', `network ${target} not found`);
      }
      if (network.spec?.attachable !== true) {
        throw new SkepError('permission_denied', `network ${target} not manually attachable`);
      }
      const id = newId(this.#env.random);
      const task = create(TaskSchema, {
        id,
        nodeId,
        spec: {
          runtime: { case: 'attachment', value: { containerId: request.containerId } },
          networks: [{ target: network.id, addresses }],
        },
        status: {
          state: TaskState.NEW,
          timestamp: timestampNow(this.#env.clock),
          message: 'created',
        },
        desiredState: TaskState.RUNNING,
      });
      write.create('task', task);
      return id;
    });
  }

  /**
   * Deletes an attachment of `nodeId`.
   * @throws SkepError not_found `attachment %s not found`; permission_denied; invalid_argument
   */
  async detach(nodeId: string, request: DetachNetworkRequest): Promise<void> {
    const { attachmentId } = request;
    if (attachmentId === '') throw new SkepError('invalid_argument', 'invalid argument');
    await this.#store.update((write) => {
      const task = write.get('task', attachmentId);
      if (task?.spec?.runtime.case !== 'attachment') {
        throw new SkepError('not_found', `attachment ${attachmentId} not found`);
      }
      if (task.nodeId !== nodeId) {
        throw new SkepError(
          'permission_denied',
          `attachment ${attachmentId} doesn't belong to this node`,
        );
      }
      write.delete('task', attachmentId);
    });
  }
}

/** By id, else by exact name. */
function findNetwork(read: ReadTransaction, target: string): Network | undefined {
  return read.get('network', target) ?? read.find('network', { by: 'name', name: target })[0];
}
