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

/** The managers of a swarm as one of them sees them. */
export interface ManagerCounts {
  /** Whether the manager that asks takes part itself. */
  readonly isActive: boolean;
  readonly reachable: number;
  readonly unreachable: number;
}

/** Leave without --force on a manager; what it would cost is in the text. */
export function managerLeaves({ isActive, reachable, unreachable }: ManagerCounts): SkepError {
  const text =
    'You are attempting to leave the swarm on a node that is participating as a manager. ';
  if (isActive && reachable === 1 && unreachable === 0) {
    return new SkepError(
      'unavailable',
      `${text}Removing the last manager erases all current state of the swarm. ` +
        'Use `--force` to ignore this message. ',
    );
  }
  return new SkepError(
    'unavailable',
    `${text}${lossText(isActive, reachable, unreachable)}` +
      'The only way to restore a swarm that has lost consensus is to reinitialize it with ' +
      '`--force-new-cluster`. Use `--force` to suppress this message.',
  );
}

function lossText(isActive: boolean, reachable: number, unreachable: number): string {
  if (!isActive) return 'Doing so may lose the consensus of your cluster. ';
  if (reachable - 2 > unreachable) return '';
  return (
    `Removing this node leaves ${reachable - 1} managers out of ${reachable + unreachable}. ` +
    'Without a Raft quorum your swarm will be inaccessible. '
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

/** Codes of the system for an engine that is away, or goes away while it is asked. */
const ENGINE_AWAY = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ENOENT']);

/** Whether the engine did not answer: its client tells so in the words of the system. */
function isEngineAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code = '', syscall = '' } = error as NodeJS.ErrnoException;
  if (ENGINE_AWAY.has(code)) return code !== 'ENOENT' || syscall === 'connect';
  return isEngineAway(error.cause);
}

/** Whether what kept the node from starting may be over soon: the host lacks something, the engine is silent. */
export function mayPass(error: unknown): boolean {
  if (isEngineAway(error)) return true;
  const { code } = SkepError.from(error);
  switch (code) {
    case 'failed_precondition':
    case 'unavailable':
    case 'deadline_exceeded':
    case 'aborted':
    case 'resource_exhausted':
      return true;
    case 'canceled':
    case 'unknown':
    case 'invalid_argument':
    case 'not_found':
    case 'already_exists':
    case 'permission_denied':
    case 'out_of_range':
    case 'unimplemented':
    case 'internal':
    case 'data_loss':
    case 'unauthenticated':
      return false;
  }
}
