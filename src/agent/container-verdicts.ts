/**
 * What the state of a container says about its task: undefined while it says nothing yet.
 */
import { SkepError } from '../model/errors.js';
import { type ContainerState, DEFAULT_SHELL } from './engine-client.js';

/** A container the engine has just made: what matters of it until it is started. */
export function createdState(id: string, labels: Readonly<Record<string, string>>): ContainerState {
  return {
    ...{ id, labels, status: 'created', running: false, pid: 0, exitCode: 0, error: '' },
    ...{ health: 'none', tty: false, hostname: '', ports: {}, networks: [] },
    ...{ sandbox: '', shell: DEFAULT_SHELL },
  };
}

/** Whether a container ran and ended; a created one has not run. */
export function hasEnded(state: ContainerState): boolean {
  return !state.running && (state.status === 'exited' || state.status === 'dead');
}

/** Started and healthy, or over. */
export function startedVerdict(state: ContainerState | undefined): ContainerState | undefined {
  const present = required(state);
  if (present.running && present.health === 'starting') return undefined;
  return present;
}

/** Over, or running and unhealthy. */
export function endedOrUnhealthy(state: ContainerState | undefined): ContainerState | undefined {
  const present = required(state);
  return !present.running || present.health === 'unhealthy' ? present : undefined;
}

/** Running, with another first process than `pid`: somebody restarted it. */
export function restartedVerdict(
  state: ContainerState | undefined,
  pid: number,
): ContainerState | undefined {
  return state?.running === true && state.pid !== pid ? state : undefined;
}

/** Over. */
export function endedVerdict(state: ContainerState | undefined): ContainerState | undefined {
  const present = required(state);
  return present.running ? undefined : present;
}

function required(state: ContainerState | undefined): ContainerState {
  if (state === undefined) throw new SkepError('not_found', 'No such container');
  return state;
}
