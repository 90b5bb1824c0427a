/** Task files: what is written comes back, damage is set aside, nothing else is touched. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clone, equals } from '@bufbuild/protobuf';
import t from 'tap';
import { decodeTaskFile, encodeTaskFile, isTaskId, TaskFiles } from '../../src/agent/task-files.js';
import { TaskSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { containerTask } from './support/tasks.js';

const { clock } = systemEnvironment;

function directory(t: { teardown(work: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'skep-task-files-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'worker', 'tasks');
}

void t.test('the latest of many writes is what a new process finds', async (t) => {
  const path = directory(t);
  const files = new TaskFiles(path, clock, silentLogger);
  await files.load();
  const task = containerTask({ env: ['A=b'] });
  for (const state of [TaskState.ACCEPTED, TaskState.PREPARING, TaskState.READY]) {
    const next = clone(TaskSchema, task);
    if (next.status !== undefined) next.status.state = state;
    files.save(next);
  }
  const gone = containerTask({});
  files.save(gone);
  files.forget(gone.id);
  await files.flush();
  const [found, ...others] = await new TaskFiles(path, clock, silentLogger).load();
  t.same(others, []);
  t.equal(found?.status?.state, TaskState.READY);
  t.equal(statSync(join(path, `${task.id}.task`)).mode & 0o777, 0o600);
  t.same(readdirSync(path), [`${task.id}.task`]);
});

void t.test('every truncation and every flipped byte is noticed', async (t) => {
  const task = containerTask({ env: ['A=b'] });
  const bytes = encodeTaskFile(task);
  t.ok(equals(TaskSchema, decodeTaskFile(bytes), task));
  for (let length = 0; length < bytes.length; length += 1) {
    t.throws(() => decodeTaskFile(bytes.subarray(0, length)), { code: 'data_loss' });
  }
  for (let at = 0; at < bytes.length; at += 1) {
    const copy = Uint8Array.from(bytes);
    copy[at] = (copy[at] ?? 0) ^ 0x10;
    t.throws(() => decodeTaskFile(copy), { code: 'data_loss' });
  }
});

void t.test('a damaged file is set aside, a half-written one removed', async (t) => {
  const path = directory(t);
  const files = new TaskFiles(path, clock, silentLogger);
  await files.load();
  const task = containerTask({});
  files.save(task);
  await files.flush();
  writeFileSync(join(path, 'broken.task'), readFileSync(join(path, `${task.id}.task`)).subarray(9));
  writeFileSync(join(path, 'half.task.tmp'), 'x');
  const found = await new TaskFiles(path, clock, silentLogger).load();
  t.same(
    found.map((one) => one.id),
    [task.id],
  );
  t.same(readdirSync(path).sort(), ['broken.task.damaged', `${task.id}.task`].sort());
});

void t.test('ids that could leave the directory are none', async (t) => {
  for (const id of ['', '../x', 'a/b', 'a.b', 'x'.repeat(65), 'a\0']) t.notOk(isTaskId(id));
  t.ok(isTaskId('0123456789abcdefghijklmno'));
});
