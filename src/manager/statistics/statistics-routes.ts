/** The Statistics service on a router. */
import type { ConnectRouter } from '@connectrpc/connect';
import { Statistics } from '../../model/gen/skep/manager/v1/statistics_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { TaskUsage } from './task-usage.js';

/** Registers the service; its calls are the leader's. */
export function registerStatistics(
  router: ConnectRouter,
  parts: { readonly usage: TaskUsage; readonly access: AccessRules },
): void {
  const { usage, access } = parts;
  router.service(Statistics, {
    report: ({ tasks }, context) => {
      usage.report(
        authorize(callContext(context).peer, access, [WORKER_ROLE, MANAGER_ROLE]),
        tasks,
      );
      return {};
    },
  });
}
