/** The Membership service on a router: managers that want to take part, and nodes that cannot. */
import type { ConnectRouter } from '@connectrpc/connect';
import type { Clock } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { NodeRole } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { Membership } from '../../model/gen/skep/manager/v1/manager_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import { ADDRESS_CHARS_MAX } from '../../rpc/raft/limits.js';
import type { Logger } from '../../observe/logger.js';
import type { Store } from '../../store/types.js';
import type { StoreControl } from '../control/store-control.js';
import { FORGET_DELAY_MS } from './limits.js';
import type { RaftGroup } from './raft-group.js';

/** What the service works with. */
export interface MembershipParts {
  readonly group: RaftGroup;
  readonly store: Store;
  readonly access: AccessRules;
  /** Of the leader. */
  readonly control: Pick<StoreControl, 'removeNode'>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** Registers the service; its calls are the leader's. */
export function registerMembership(router: ConnectRouter, parts: MembershipParts): void {
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
      try {
        await group.admit({ raftId, nodeId, address });
      } catch (error) {
        if (request.isNew && group.memberOf(nodeId) === undefined) forgetSoon(parts, nodeId);
        throw error;
      }
      return {};
    },
    withdraw: async (_request, context) => {
      const nodeId = authorize(callContext(context).peer, access, [WORKER_ROLE, MANAGER_ROLE]);
      if (group.memberOf(nodeId) !== undefined) {
        throw new SkepError('failed_precondition', `node ${nodeId} is a member of the managers`);
      }
      forgetSoon(parts, nodeId);
      return {};
    },
  });
}

function forgetSoon(parts: MembershipParts, nodeId: string): void {
  parts.clock.setTimer(FORGET_DELAY_MS, () => void forget(parts, nodeId));
}

/** What a refused newcomer left in the store goes, and its certificate is void. */
async function forget({ control, logger }: MembershipParts, nodeId: string): Promise<void> {
  try {
    await control.removeNode(nodeId, { force: true });
  } catch (error) {
    const { message } = SkepError.from(error);
    logger.warn(
      { nodeId, error: message },
      'a node that could not join stays in the list of nodes',
    );
  }
}

function isAddress(address: string): boolean {
  return address.length <= ADDRESS_CHARS_MAX && /^.+:\d{1,5}$/.test(address);
}
