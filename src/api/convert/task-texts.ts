/**
 * JSON of the tasks shown last. Who waits for a service lists its tasks several times a second, and few of
 * them have changed in between; objects of the store never do, a change is a new one.
 */
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { JsonText, writeJson } from '../http/json-text.js';
import { taskFields } from './task.js';

/** Tasks whose JSON is kept, some kilobytes each: enough for a service that is being looked at. */
const TASK_TEXTS_MAX = 512;

/** A few texts, by task. */
export class TaskTexts {
  private readonly texts = new Map<Task, JsonText>();

  /** The task as JSON. */
  of(task: Task): JsonText {
    const known = this.texts.get(task);
    if (known !== undefined) return known;
    const text = new JsonText(writeJson(taskFields(task)));
    if (this.texts.size >= TASK_TEXTS_MAX) this.texts.clear();
    this.texts.set(task, text);
    return text;
  }
}
