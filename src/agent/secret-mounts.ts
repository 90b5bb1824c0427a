/**
 * Secrets and configs of a task as files for its container. Each becomes one read-only file in a
 * directory of its own per task on a memory file system, bind-mounted alone (Docker mounts each
 * one alone too). Nothing of it touches a disk; the directory goes with the task.
 */
import { mkdir, rm, writeFile, chown, chmod } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type Docker from 'dockerode';
import { SkepError } from '../model/errors.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { FileTarget } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { containerSpec } from './container-config.js';
import type { Dependencies } from './executor.js';

interface SecretFile {
  readonly id: string;
  readonly target: string;
  readonly file: FileTarget;
  readonly data: Uint8Array;
}

/** Writes and removes the files of tasks below one directory, which must be in memory. */
export class SecretMounts {
  constructor(private readonly directory: string) {}

  /**
   * Writes what the task refers to; returns the mounts.
   * @throws SkepError not_found when a reference has not arrived on this node
   */
  async write(task: Task, dependencies: Dependencies): Promise<Docker.MountSettings[]> {
    const files = secretFiles(task, dependencies);
    if (files.length === 0) return [];
    const directory = join(this.directory, task.id);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const mounts: Docker.MountSettings[] = [];
    for (const [index, { target, file, data }] of files.entries()) {
      const path = join(directory, String(index));
      await writeFile(path, data, { mode: 0o600 });
      await chown(path, ownerId(file.uid), ownerId(file.gid));
      await chmod(path, file.mode & 0o7777);
      mounts.push({ Type: 'bind', Source: path, Target: target, ReadOnly: true });
    }
    return mounts;
  }

  /** Removes a task's files; none is fine. */
  async remove(taskId: string): Promise<void> {
    await rm(join(this.directory, taskId), { recursive: true, force: true });
  }
}

function secretFiles(task: Task, dependencies: Dependencies): SecretFile[] {
  const spec = containerSpec(task);
  const files: SecretFile[] = [];
  for (const reference of spec.secrets) {
    if (reference.target.case !== 'file') continue;
    const held = dependencies.secret(reference.secretId);
    const data = held?.spec?.data;
    if (data === undefined) throw missing('secret', reference.secretName);
    const file = reference.target.value;
    const target = posix.resolve('/run/secrets', file.name);
    files.push({ id: reference.secretId, target, file, data });
  }
  for (const reference of spec.configs) {
    if (reference.target.case !== 'file') continue;
    const held = dependencies.config(reference.configId);
    const data = held?.spec?.data;
    if (data === undefined) throw missing('config', reference.configName);
    const file = reference.target.value;
    files.push({ id: reference.configId, target: posix.resolve('/', file.name), file, data });
  }
  return files;
}

function missing(kind: string, name: string): SkepError {
  return new SkepError('not_found', `${kind} ${name} is not available on this node`);
}

/** Owners are numbers only, as in Docker. */
function ownerId(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,9}$/.test(text)) {
    throw new SkepError('invalid_argument', `strconv.Atoi: parsing "${text}": invalid syntax`);
  }
  return Number(text);
}
