/** The Membership service on a router: managers that want to take part. */
import type { ConnectRouter } from '@connectrpc/connect';
import { SkepError } from '../../model/errors.js';
import { NodeRole } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { Membership } from '../../model/gen/skep/manager/v1/manager_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE } from '../../rpc/peer.js';
import { ADDRESS_CHARS_MAX } from '../../rpc/raft/limits.js';
import type { Store } from '../../store/types.js';
import type { RaftGroup } from './raft-group.js';

/** Registers the service; its calls are the leader's. */
export function registerMembership(
  router: ConnectRouter,
  parts: { group: RaftGroup; store: Store; access: AccessRules },
): void {
  const { group, store, access } = parts;
  router.service(Membership, {
    join: async (request, context) => {
      const nodeId = authorize(callContext(context).peer, access, [MANAGER_ROLE]);
      const raftId = Number(request.raftId);
      const { address } = request;
      const isSane = Number.isSafeInteger(raftId) && raftId > 0 && isAddress(address);
      if (!isSane) throw new SkepError('invalid_argument', 'no valid raft id and address given');
      const node = store.view((read) => read.get('node', nodeId));
      if (node?.spec?.desiredRole !== NodeRole.MANAGER) {
        throw new SkepError('failed_precondition', `node ${nodeId} is not to be a manager`);
      }
      await group.admit({ raftId, nodeId, address });
      return {};
    },
  });
}

function isAddress(address: string): boolean {
  return address.length <= ADDRESS_CHARS_MAX && /^.+:\d{1,5}$/.test(address);
}
