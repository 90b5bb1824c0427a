/**
 * The task state machine, without effects: what to do next for a task in an observed and a desired
 * state, and which status follows from how that went (SwarmKit agent/exec/controller.go, Do).
 * States are a clock: they only grow.
 */
import { SkepError } from '../model/errors.js';
import { TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';

/** What a task needs next. */
export type TaskStep =
  /** Only a transition. */
  | { readonly kind: 'advance'; readonly to: TaskState; readonly message: string }
  /** Networks, image, container. Observed PREPARING. */
  | { readonly kind: 'prepare' }
  /** Start, and healthy. Observed STARTING. */
  | { readonly kind: 'start' }
  /** Until it exits. Observed RUNNING. */
  | { readonly kind: 'wait' }
  /** Stop it, whatever it does. */
  | { readonly kind: 'shutdown' }
  /** Nothing to do until the desired state changes. */
  | { readonly kind: 'rest' };

/** The steps that do something outside. */
export type EffectStep = Exclude<TaskStep, { kind: 'advance' } | { kind: 'rest' }>;

/** The part of TaskStatus that transitions write. */
export interface StateReport {
  readonly state: TaskState;
  readonly message: string;
  readonly err: string;
}

const REST: TaskStep = { kind: 'rest' };

/** The next step for a task; pure. */
export function decideNext(observed: TaskState, desired: TaskState): TaskStep {
  if (observed > TaskState.RUNNING) return REST;
  if (desired >= TaskState.SHUTDOWN) return { kind: 'shutdown' };
  if (observed > desired) return REST;
  switch (observed) {
    case TaskState.NEW:
    case TaskState.PENDING:
    case TaskState.ASSIGNED:
      return { kind: 'advance', to: TaskState.ACCEPTED, message: 'accepted' };
    case TaskState.ACCEPTED:
      return { kind: 'advance', to: TaskState.PREPARING, message: 'preparing' };
    case TaskState.PREPARING:
      return { kind: 'prepare' };
    case TaskState.READY:
      if (desired === TaskState.READY) return REST;
      return { kind: 'advance', to: TaskState.STARTING, message: 'starting' };
    case TaskState.STARTING:
      return { kind: 'start' };
    case TaskState.RUNNING:
      return { kind: 'wait' };
    default:
      return REST;
  }
}

/** The status after an effect succeeded. */
export function afterSuccess(step: EffectStep): StateReport {
  switch (step.kind) {
    case 'prepare':
      return { state: TaskState.READY, message: 'prepared', err: '' };
    case 'start':
      return { state: TaskState.RUNNING, message: 'started', err: '' };
    case 'wait':
      return { state: TaskState.COMPLETE, message: 'finished', err: '' };
    case 'shutdown':
      return { state: TaskState.SHUTDOWN, message: 'shutdown', err: '' };
  }
}

/** The status after an effect failed for good: REJECTED before STARTING, FAILED from there on. */
export function afterFailure(current: StateReport, error: SkepError): StateReport {
  const state = current.state < TaskState.STARTING ? TaskState.REJECTED : TaskState.FAILED;
  return { state, message: current.message, err: error.message };
}

/** Whether an error is worth another try: the engine, not the task, was the reason. */
export function isTemporary(error: SkepError): boolean {
  return error.code === 'unavailable' || error.code === 'aborted';
}

/** SwarmKit's text for a task that ended with a code other than 0. */
export function exitError(exitCode: number, cause?: string): SkepError {
  const tail = cause === undefined || cause === '' ? '' : `: ${cause}`;
  return new SkepError('unknown', `task: non-zero exit (${exitCode})${tail}`, {
    details: { exitCode },
  });
}

/** SwarmKit's text for a container whose health check failed. */
export const UNHEALTHY = 'dockerexec: unhealthy container';
