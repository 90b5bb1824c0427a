/** The ResourceAllocator service on a router. */
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { ResourceAllocator as ResourceAllocatorService } from '../../model/gen/docker/swarmkit/v1/resource_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { ResourceAllocator } from './resource-allocator.js';

/** Registers the service. */
export function registerResourceAllocator(
  router: ConnectRouter,
  parts: { resources: ResourceAllocator; access: AccessRules },
): void {
  const { resources, access } = parts;
  const nodeOf = (context: HandlerContext): string =>
    authorize(callContext(context).peer, access, [WORKER_ROLE, MANAGER_ROLE]);
  router.service(ResourceAllocatorService, {
    attachNetwork: async (request, context) => ({
      attachmentId: await resources.attach(nodeOf(context), request),
    }),
    detachNetwork: async (request, context) => {
      await resources.detach(nodeOf(context), request);
      return {};
    },
  });
}
