/** The LogBroker service on a router. */
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { LogBroker as LogBrokerService } from '../../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { LogBroker } from './log-broker.js';

/** Registers the service. */
export function registerLogBroker(
  router: ConnectRouter,
  parts: { logs: LogBroker; access: AccessRules },
): void {
  const { logs, access } = parts;
  const nodeOf = (context: HandlerContext): string =>
    authorize(callContext(context).peer, access, [WORKER_ROLE, MANAGER_ROLE]);
  router.service(LogBrokerService, {
    listenSubscriptions: (_request, context) => logs.listen(nodeOf(context), context.signal),
    publishLogs: async (messages, context) => {
      await logs.publish(nodeOf(context), messages);
      return {};
    },
  });
}
