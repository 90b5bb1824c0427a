/**
 * The attachment allocator handed to the networking before the agent, which implements it, exists:
 * the two need each other.
 */
import type { NodeAttachments } from '../agent/attachments.js';
import type { Network } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { AttachmentAllocator } from '../network/types.js';
import { notInSwarm } from './swarm-errors.js';

/** Passes calls on to whatever is bound; refuses while nothing is. */
export class LateAttachments implements AttachmentAllocator {
  private target: NodeAttachments | undefined;

  /** Binds the real allocator; undefined unbinds. */
  bind(target: NodeAttachments | undefined): void {
    this.target = target;
  }

  async attach(
    networkId: string,
    containerId: string,
    addresses: readonly string[],
  ): Promise<{ readonly attachmentId: string; readonly addresses: readonly string[] }> {
    return await this.require().attach(networkId, containerId, addresses);
  }

  /** An attachable network by name or id, as the cluster knows it. */
  async find(nameOrId: string): Promise<Network | undefined> {
    return await this.require().find(nameOrId);
  }

  async detach(attachmentId: string): Promise<void> {
    await this.require().detach(attachmentId);
  }

  private require(): NodeAttachments {
    if (this.target === undefined) throw notInSwarm();
    return this.target;
  }
}
