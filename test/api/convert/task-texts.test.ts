/** JSON of tasks that is kept: the same as written anew, and never that of an earlier version. */
import { clone } from '@bufbuild/protobuf';
import t from 'tap';
import { taskFields } from '../../../src/api/convert/task.js';
import { TaskTexts } from '../../../src/api/convert/task-texts.js';
import { writeJson } from '../../../src/api/http/json-text.js';
import { TaskSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { containerTask } from '../../agent/support/tasks.js';

void t.test('a task is shown as it is, however often it was shown before', (t) => {
  const texts = new TaskTexts();
  const task = containerTask({ env: ['A=b'] });
  const text = writeJson([texts.of(task)]);
  t.equal(text, writeJson([taskFields(task)]));
  t.equal(texts.of(task), texts.of(task), 'it is written once');
  const next = clone(TaskSchema, task);
  if (next.status !== undefined) next.status.state = TaskState.FAILED;
  t.equal(writeJson(texts.of(next)), writeJson(taskFields(next)));
  t.not(writeJson(texts.of(next)), writeJson(texts.of(task)));
  t.end();
});

void t.test('of many tasks only some are kept, and all are shown', (t) => {
  const texts = new TaskTexts();
  const tasks = Array.from({ length: 2000 }, () => containerTask({}));
  t.equal(writeJson(tasks.map((task) => texts.of(task))), writeJson(tasks.map(taskFields)));
  const [first = containerTask({})] = tasks;
  t.equal(texts.of(first).text, writeJson(taskFields(first)));
  t.end();
});
