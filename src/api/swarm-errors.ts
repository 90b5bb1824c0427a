/**
 * Docker's texts for what this host cannot do because of its place in a swarm, as far as the API
 * itself says so; all are 503. The rest comes from {@link SwarmMembership}.
 */
import { SkepError } from '../model/errors.js';
import type { LocalNodeState } from './types.js';

/** A second init or join. */
export function alreadyInSwarm(): SkepError {
  return new SkepError(
    'unavailable',
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  );
}

/** Anything on a manager that waits for its unlock key. */
export function locked(): SkepError {
  return new SkepError(
    'unavailable',
    'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.',
  );
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
