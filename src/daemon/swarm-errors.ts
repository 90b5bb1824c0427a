/**
 * Docker's own sentences about a node's place in a swarm, as far as src/api/swarm-errors.ts does not
 * have them already (reference: moby daemon/cluster/errors.go).
 * All are answered with 503 unless said otherwise.
 */
import { SkepError } from '../model/errors.js';

/** Leave, or anything else that needs a swarm, on a node in none. */
export function notInSwarm(): SkepError {
  return new SkepError('unavailable', 'This node is not part of a swarm');
}

/** Join took longer than its time limit. */
export function joinTimeout(): SkepError {
  return new SkepError(
    'unavailable',
    'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. ' +
      'Use the "docker info" command to see the current swarm status of your node.',
  );
}

/** Leave without --force on the only manager. */
export function lastManagerLeaves(): SkepError {
  return new SkepError(
    'unavailable',
    'You are attempting to leave the swarm on a node that is participating as a manager. ' +
      'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ',
  );
}

/** Leave without --force on a manager that is locked. */
export function lockedManagerLeaves(): SkepError {
  return new SkepError(
    'unavailable',
    'Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.',
  );
}

/** Unlock with a key that does not fit; 401. */
export function invalidUnlockKey(): SkepError {
  return new SkepError('unauthenticated', 'swarm could not be unlocked: invalid key provided');
}

/** `init --force-new-cluster` on a worker. */
export function notAManager(): SkepError {
  return new SkepError('unavailable', 'This node is not participating as a swarm manager');
}
