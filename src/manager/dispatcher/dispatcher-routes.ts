/** The Dispatcher service on a router. */
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { Dispatcher as DispatcherService } from '../../model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { Dispatcher } from './dispatcher.js';

/** Registers the service. Cluster volumes (UpdateVolumeStatus) are not served. */
export function registerDispatcher(
  router: ConnectRouter,
  parts: { dispatcher: Dispatcher; access: AccessRules },
): void {
  const { dispatcher, access } = parts;
  const nodeOf = (context: HandlerContext): string =>
    authorize(callContext(context).peer, access, [WORKER_ROLE, MANAGER_ROLE]);
  router.service(DispatcherService, {
    session: (request, context) =>
      dispatcher.session(
        nodeOf(context),
        callContext(context).peer.address,
        request,
        context.signal,
      ),
    heartbeat: (request, context) => dispatcher.heartbeat(nodeOf(context), request.sessionId),
    updateTaskStatus: async (request, context) => {
      await dispatcher.updateTaskStatus(nodeOf(context), request);
      return {};
    },
    tasks: (request, context) =>
      dispatcher.tasks(nodeOf(context), request.sessionId, context.signal),
    assignments: (request, context) =>
      dispatcher.assignments(nodeOf(context), request.sessionId, context.signal),
  });
}
