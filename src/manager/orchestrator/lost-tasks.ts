/**
 * Tasks given up with their node: orphaned, since nobody tells what becomes of them (SwarmKit
 * controlapi/node.go, orphanNodeTasks). They may go on unseen on a node that is cut off, which takes
 * itself off the networks after `skep.fence_after`; until twice that nobody gets their addresses,
 * and they stay in the store, so that the next leader knows.
 */
import { timestampToMs } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { restOfLostMs } from '../../model/fencing.js';
import { FENCE_AFTER_LABEL } from '../../model/labels/keys.js';
import { durationLabelMs } from '../../model/labels/read.js';
import { isOnNode, observedState } from '../../model/task-state.js';
import type { ReadTransaction, WriteTransaction } from '../../store/types.js';
import { findCluster, withObservedState } from './task.js';

/** Gives up a task that its node may still hold; another stays as it is. */
export function orphanTask(write: WriteTransaction, environment: Environment, id: string): void {
  const task = write.get('task', id);
  if (task === undefined || !isOnNode(task)) return;
  const { message = '', err = '' } = task.status ?? {};
  const status = { state: TaskState.ORPHANED, message, err };
  write.update('task', withObservedState(environment, task, status));
}

/** How long addresses that are lost with their node rest, milliseconds. */
export function quarantineMs(read: ReadTransaction): number {
  const labels = findCluster(read)?.spec?.annotations?.labels;
  return restOfLostMs(durationLabelMs(FENCE_AFTER_LABEL, labels));
}

/** How long the addresses of `task` still rest, milliseconds; 0 when it has none or was not lost. */
export function restLeftMs(read: ReadTransaction, task: Task, nowMs: number): number {
  if (observedState(task) !== TaskState.ORPHANED || task.networks.length === 0) return 0;
  const wholeMs = quarantineMs(read);
  // Of the orphaning itself: `appliedAt` is still that of the last state the node has told.
  const passedMs = Math.max(0, nowMs - (timestampToMs(task.status?.timestamp) ?? 0));
  return Math.max(0, wholeMs - passedMs);
}
