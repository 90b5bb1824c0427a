/**
 * How far a service has got: pure judgement over what the API tells of the service and its tasks.
 * A task counts once it runs what the service now asks for.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ServiceMode, SwarmService, SwarmTask, TaskTemplate } from './swarm-spec.js';

/** What became of a service so far. */
export type Progress =
  | { readonly kind: 'waiting' | 'done'; readonly text: string }
  | { readonly kind: 'failed'; readonly text: string };

/** States in which a task does nothing any more. */
const ENDED = new Set(['complete', 'shutdown', 'failed', 'rejected', 'remove', 'orphaned']);

/**
 * @param tasks all of the service
 * @param isUpdated whether the service was changed just now; else its update status is of an earlier time
 */
export function progressOf(
  service: SwarmService,
  tasks: readonly SwarmTask[],
  isUpdated: boolean,
): Progress {
  const { State: state, Message: message = '' } = service.UpdateStatus ?? {};
  const isPaused = state === 'paused' || state === 'rollback_paused';
  if (isPaused && isUpdated)
    return { kind: 'failed', text: message === '' ? 'the update is paused' : message };
  if (state === 'rollback_completed' && isUpdated)
    return { kind: 'failed', text: `rolled back: ${message}` };
  const { Mode: mode } = service.Spec;
  if (mode.ReplicatedJob !== undefined || mode.GlobalJob !== undefined)
    return completionOf(service, tasks);
  const fresh = tasks.filter((task) => isFresh(task.Spec, service.Spec.TaskTemplate));
  const up = new Set(
    fresh
      .filter((task) => task.DesiredState === 'running' && task.Status.State === 'running')
      .map((task) => task.Slot ?? task.NodeID),
  ).size;
  const wanted = wantedTasks(mode, service);
  const trouble = troubleOf(fresh);
  const text = `${up}/${wanted} running${up < wanted ? trouble : ''}`;
  if (state === 'updating' || state === 'rollback_started')
    return {
      kind: 'waiting',
      text: `${text}, ${state === 'updating' ? 'updating' : 'rolling back'}`,
    };
  if (up >= wanted) return { kind: 'done', text };
  const completed = fresh.filter((task) => task.Status.State === 'complete').length;
  // Tasks that ended well and are not restarted have done what they were for.
  if (up + completed >= wanted && !fresh.some(isUnderWay))
    return { kind: 'done', text: `${completed}/${wanted} completed` };
  if (isPaused) return { kind: 'failed', text: `${text}, an earlier update is paused` };
  // Nothing is under way: its restart policy has given the service up.
  const isGivenUp = fresh.length >= wanted && !fresh.some(isUnderWay);
  return { kind: isGivenUp && state !== 'completed' ? 'failed' : 'waiting', text };
}

function isUnderWay({ Status, DesiredState }: SwarmTask): boolean {
  if (DesiredState === 'running' || DesiredState === 'ready') return true;
  return !ENDED.has(Status.State);
}

function wantedTasks(mode: ServiceMode, service: SwarmService): number {
  if (mode.Replicated !== undefined) return mode.Replicated.Replicas ?? 1;
  return service.ServiceStatus?.DesiredTasks ?? 0;
}

/** Placement alone moves tasks, it does not make new ones; tasks do not tell their runtime. */
function isFresh(task: TaskTemplate, wanted: TaskTemplate): boolean {
  const { Placement: _theirs, Runtime: _none, ...own } = task;
  const { Placement: _ours, Runtime: _runtime, ...asked } = wanted;
  return isDeepStrictEqual(own, asked);
}

function troubleOf(tasks: readonly SwarmTask[]): string {
  const latest = tasks
    .filter(({ Status }) => (Status.Err ?? '') !== '')
    .toSorted((a, b) => ((a.Status.Timestamp ?? '') < (b.Status.Timestamp ?? '') ? 1 : -1))[0];
  return latest === undefined ? '' : ` (${latest.Status.Err ?? ''})`;
}

/** How far a service is whose tasks are to end well: a job, or one that is not restarted. */
export function completionOf(service: SwarmService, tasks: readonly SwarmTask[]): Progress {
  const iteration = service.JobStatus?.JobIteration?.Index ?? 0;
  const own = tasks.filter(
    (task) =>
      (task.JobIteration?.Index ?? 0) === iteration &&
      isFresh(task.Spec, service.Spec.TaskTemplate),
  );
  const completed = own.filter((task) => task.Status.State === 'complete').length;
  const { ReplicatedJob: job, Replicated: replicated } = service.Spec.Mode;
  const wanted =
    job?.TotalCompletions ??
    job?.MaxConcurrent ??
    (job === undefined && replicated === undefined
      ? new Set(own.map((task) => task.NodeID)).size
      : (replicated?.Replicas ?? 1));
  const text = `${completed}/${wanted} completed`;
  if (completed >= wanted && own.length > 0) return { kind: 'done', text };
  const isGivenUp = own.length >= wanted && own.every((task) => ENDED.has(task.Status.State));
  return { kind: isGivenUp ? 'failed' : 'waiting', text: `${text}${troubleOf(own)}` };
}
