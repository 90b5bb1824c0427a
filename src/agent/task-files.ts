/**
 * The tasks of this node on disk, one file each, so that a killed daemon knows them again. A file
 * is replaced by rename after fsync; a checksum tells a damaged one, which is set aside: the
 * container is still found by its labels. Files hold environment and registry credentials of
 * services, hence mode 0600.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { SkepError } from '../model/errors.js';
import { type Task, TaskSchema } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Clock } from '../model/environment.js';
import type { Logger } from '../observe/logger.js';
import { lifeAbort, sleep } from './async.js';
import { TASK_FILE_PAUSE_MS, TASKS_MAX } from './limits.js';

const MAGIC = Buffer.from('SKT1', 'ascii');
const HEADER_BYTES = 8;
const SUFFIX = '.task';

/** Whether a manager's task id may become part of a file name. */
export function isTaskId(id: string): boolean {
  return /^[0-9A-Za-z]{1,64}$/.test(id);
}

/** `magic | crc32 | protobuf`. */
export function encodeTaskFile(task: Task): Uint8Array {
  const body = toBinary(TaskSchema, task);
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([header, body]);
}

/** The task in a file's bytes. @throws SkepError data_loss */
export function decodeTaskFile(bytes: Uint8Array): Task {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sound = buffer.length >= HEADER_BYTES && buffer.subarray(0, 4).equals(MAGIC);
  const body = buffer.subarray(HEADER_BYTES);
  if (!sound || crc32(body) !== buffer.readUInt32BE(4)) {
    throw new SkepError('data_loss', 'task file is damaged');
  }
  return fromBinary(TaskSchema, body);
}

/**
 * The directory of task files. Writes of one task are coalesced: the latest wins. A file may be behind by
 * {@link TASK_FILE_PAUSE_MS}: whoever finds it looks at the container anyway.
 */
export class TaskFiles {
  private readonly wanted = new Map<string, Task | undefined>();
  private readonly writers = new Map<string, Promise<void>>();
  /** Ends the pauses between writes. */
  private hurry = lifeAbort();

  constructor(
    private readonly directory: string,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** All sound task files; makes the directory. Left-over temporary files are removed. */
  async load(): Promise<readonly Task[]> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const tasks: Task[] = [];
    for (const name of (await readdir(this.directory)).sort()) {
      const path = join(this.directory, name);
      if (name.endsWith('.tmp')) await rm(path, { force: true });
      if (!name.endsWith(SUFFIX) || tasks.length >= TASKS_MAX) continue;
      try {
        tasks.push(decodeTaskFile(await readFile(path)));
      } catch (error) {
        const text = SkepError.from(error).message;
        this.logger.error({ path, error: text }, 'damaged task file set aside');
        await rename(path, `${path}.damaged`);
      }
    }
    return tasks;
  }

  /** Writes `task` soon. */
  save(task: Task): void {
    this.want(task.id, task);
  }

  /** Deletes the file of a task soon. */
  forget(taskId: string): void {
    this.want(taskId, undefined);
  }

  /** Resolves once everything asked for so far is on disk. */
  async flush(): Promise<void> {
    while (this.writers.size > 0) {
      this.hurry.abort();
      await Promise.all(this.writers.values());
    }
    this.hurry = lifeAbort();
  }

  private want(taskId: string, task: Task | undefined): void {
    this.wanted.set(taskId, task);
    if (this.writers.has(taskId)) return;
    const writer = this.drain(taskId).finally(() => this.writers.delete(taskId));
    this.writers.set(taskId, writer);
  }

  private async drain(taskId: string): Promise<void> {
    while (this.wanted.has(taskId)) {
      const task = this.wanted.get(taskId);
      this.wanted.delete(taskId);
      try {
        await (task === undefined ? this.erase(taskId) : this.write(task));
      } catch (error) {
        // A full disk must not stop tasks; what is lost is found again by labels and re-sent.
        const text = SkepError.from(error).message;
        this.logger.error({ taskId, error: text }, 'task file not written');
      }
      // A task that starts goes through half a dozen states within moments.
      const { signal } = this.hurry;
      if (task !== undefined)
        await sleep(this.clock, TASK_FILE_PAUSE_MS, signal).catch(() => undefined);
    }
  }

  private async write(task: Task): Promise<void> {
    const path = join(this.directory, task.id + SUFFIX);
    const file = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await file.writeFile(encodeTaskFile(task));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
  }

  private async erase(taskId: string): Promise<void> {
    await rm(join(this.directory, taskId + SUFFIX), { force: true });
  }
}
