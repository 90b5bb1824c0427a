/**
 * Docker's texts for what this host cannot do because of its place in a swarm. The composition
 * root throws these from {@link SwarmMembership}; all are 503 at the API unless noted.
 */
import { SkepError } from '../model/errors.js';
import type { LocalNodeState } from './types.js';

/** Leaving or the like on a host outside any swarm. */
export function notInSwarm(): SkepError {
  return new SkepError('unavailable', 'This node is not part of a swarm');
}

/** A second init or join. */
export function alreadyInSwarm(): SkepError {
  return new SkepError(
    'unavailable',
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  );
}

/** A join that goes on in the background. */
export function joinTimedOut(): SkepError {
  return new SkepError(
    'deadline_exceeded',
    'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.',
  );
}

/** Anything on a manager that waits for its unlock key. */
export function locked(): SkepError {
  return new SkepError(
    'unavailable',
    'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.',
  );
}

/** 401: a wrong unlock key. */
export function invalidUnlockKey(): SkepError {
  return new SkepError('unauthenticated', 'swarm could not be unlocked: invalid key provided');
}

/** 409: unlocking what is not locked. */
export function notLocked(): SkepError {
  return new SkepError('already_exists', 'swarm is not locked');
}

/** Why a cluster command cannot be answered here; `wantsManager`: this node has the manager role. */
export function noManager(state: LocalNodeState, wantsManager: boolean): SkepError {
  if (state === 'locked') return locked();
  const prefix = 'This node is not a swarm manager. ';
  if (state === 'inactive') {
    return new SkepError(
      'unavailable',
      `${prefix}Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`,
    );
  }
  if (wantsManager) {
    return new SkepError(
      'unavailable',
      `${prefix}Manager is being prepared or has trouble connecting to the cluster.`,
    );
  }
  return new SkepError(
    'unavailable',
    `${prefix}Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.`,
  );
}

/** How a manager that leaves without force would hurt its cluster. */
export type LeaveHazard =
  | { readonly kind: 'lastManager' }
  | { readonly kind: 'quorumLoss'; readonly remaining: number; readonly total: number }
  | { readonly kind: 'managerInactive' }
  | { readonly kind: 'none' };

/** `swarm leave` without `--force` on a manager. */
export function leaveNeedsForce(hazard: LeaveHazard): SkepError {
  const start =
    'You are attempting to leave the swarm on a node that is participating as a manager. ';
  const tail =
    'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.';
  switch (hazard.kind) {
    case 'lastManager':
      return new SkepError(
        'unavailable',
        `${start}Removing the last manager erases all current state of the swarm. Use \`--force\` to ignore this message. `,
      );
    case 'quorumLoss':
      return new SkepError(
        'unavailable',
        `${start}Removing this node leaves ${hazard.remaining} managers out of ${hazard.total}. Without a Raft quorum your swarm will be inaccessible. ${tail}`,
      );
    case 'managerInactive':
      return new SkepError(
        'unavailable',
        `${start}Doing so may lose the consensus of your cluster. ${tail}`,
      );
    case 'none':
      return new SkepError('unavailable', start + tail);
  }
}
