/**
 * The settings of containers that tasks and services ask for by label, and the cluster's policy about
 * them (`skep.container.allow`).
 */
import {
  CONTAINER_ALLOW_LABEL,
  containerSettingsText,
  forbiddenSetting,
  forbiddenText,
} from '../../model/container-settings.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { ServiceSpec, TaskSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type { ReadTransaction, StoreEvent } from '../../store/types.js';
import { SkepError } from '../../model/errors.js';

type Labels = Readonly<Record<string, string>> | undefined;
type LabelPair = readonly [service: Labels, container: Labels];

/** One text of all settings of a task, for comparison; empty without any. */
export function taskSettingsText(task: Task): string {
  return containerSettingsText(...labelsOfTask(task));
}

/** The same of the tasks that a service asks for. */
export function serviceSettingsText(spec: ServiceSpec | undefined): string {
  return containerSettingsText(...labelsOfService(spec));
}

/** Why the cluster does not let the task run; undefined if it does. */
export function forbiddenTask(transaction: ReadTransaction, task: Task): string | undefined {
  const labels = labelsOfTask(task);
  if (containerSettingsText(...labels) === '') return undefined;
  const label = forbiddenSetting(clusterLabels(transaction), labels);
  return label === undefined ? undefined : forbiddenText(label);
}

/**
 * Refuses settings that the cluster does not allow. What the service had `before` it may keep.
 * @throws SkepError permission_denied
 */
export function checkContainerPolicy(
  transaction: ReadTransaction,
  spec: ServiceSpec,
  before: ServiceSpec | undefined,
): void {
  const [now, had] = [labelsOfService(spec), labelsOfService(before)];
  const label = forbiddenSetting(clusterLabels(transaction), now, had);
  if (label !== undefined) throw new SkepError('permission_denied', forbiddenText(label));
}

/** Whether tasks may be allowed, or not be any more, through this change. */
export function changesContainerPolicy(event: StoreEvent): boolean {
  if (event.table !== 'cluster' || event.kind !== 'update') return false;
  const [before, now] = [event.old, event.object].map(
    ({ spec }) => spec?.annotations?.labels[CONTAINER_ALLOW_LABEL],
  );
  return before !== now;
}

function labelsOfTask(task: Task): LabelPair {
  return [task.serviceAnnotations?.labels, containerLabels(task.spec)];
}

function labelsOfService(spec: ServiceSpec | undefined): LabelPair {
  return [spec?.annotations?.labels, containerLabels(spec?.task)];
}

function containerLabels(task: TaskSpec | undefined): Labels {
  return task?.runtime.case === 'container' ? task.runtime.value.labels : undefined;
}

function clusterLabels(transaction: ReadTransaction): Labels {
  const [cluster] = transaction.find('cluster', { by: 'all' });
  return cluster?.spec?.annotations?.labels;
}
