/**
 * Secrets and configs of a task as files for its container. Each becomes one read-only file in a
 * directory of its own per task on a memory file system, bind-mounted alone (Docker mounts each
 * one alone too). Nothing of it touches a disk; the directory goes with the task.
 */
import { mkdir, rm, writeFile, chown, chmod } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type Docker from 'dockerode';
import { SkepError } from '../model/errors.js';
import type { FileTarget } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { expandPayload, type PayloadPlace } from '../model/template/expansion.js';
import { containerSpec } from './container-config.js';

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
   * Writes what the task refers to, templates filled in; returns the mounts.
   * @throws SkepError not_found when a reference has not arrived on this node; invalid_argument for
   * a template that cannot be filled in
   */
  async write(place: PayloadPlace): Promise<Docker.MountSettings[]> {
    const { task } = place;
    const files = secretFiles(place);
    if (files.length === 0) return [];
    const directory = join(this.directory, task.id);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const mounts: Docker.MountSettings[] = [];
    for (const [index, { target, file, data }] of files.entries()) {
      const path = join(directory, String(index));
      await writeFile(path, data, { mode: 0o600 });
      await chown(path, ownerId(file.uid), ownerId(file.gid));
      // Docker Engine keeps neither setuid, setgid nor sticky.
      await chmod(path, file.mode & 0o777);
      mounts.push({ Type: 'bind', Source: path, Target: target, ReadOnly: true });
    }
    // A config at the place of a secret covers it, as the later mount does in Docker Engine.
    return [...new Map(mounts.map((mount) => [mount.Target, mount])).values()];
  }

  /** Removes a task's files; none is fine. */
  async remove(taskId: string): Promise<void> {
    await rm(join(this.directory, taskId), { recursive: true, force: true });
  }
}

function secretFiles(place: PayloadPlace): SecretFile[] {
  const { task, dependencies } = place;
  const spec = containerSpec(task);
  const files: SecretFile[] = [];
  for (const reference of spec.secrets) {
    if (reference.target.case !== 'file') continue;
    const payload = dependencies.secret(reference.secretId)?.spec;
    if (payload === undefined) throw missing('secret', reference.secretName);
    const data = expandPayload('secret', reference.secretId, payload, place);
    const file = reference.target.value;
    const target = posix.resolve('/run/secrets', file.name);
    files.push({ id: reference.secretId, target, file, data });
  }
  for (const reference of spec.configs) {
    if (reference.target.case !== 'file') continue;
    const payload = dependencies.config(reference.configId)?.spec;
    if (payload === undefined) throw missing('config', reference.configName);
    const data = expandPayload('config', reference.configId, payload, place);
    const file = reference.target.value;
    files.push({ id: reference.configId, target: posix.resolve('/', file.name), file, data });
  }
  return files;
}

function missing(kind: string, name: string): SkepError {
  return new SkepError('not_found', `${kind} ${name} is not available on this node`);
}

/** Owners are numbers only, as in Docker, and cut to the kernel's 32 bits; -1 leaves root. */
function ownerId(text: string): number {
  if (text === '') return 0;
  const why = !/^[+-]?\d+$/.test(text)
    ? 'invalid syntax'
    : BigInt.asIntN(64, BigInt(text.replace('+', ''))) === BigInt(text.replace('+', ''))
      ? undefined
      : 'value out of range';
  if (why !== undefined)
    throw new SkepError(
      'invalid_argument',
      `strconv.Atoi: parsing ${JSON.stringify(text)}: ${why}`,
    );
  return Number(BigInt.asUintN(32, BigInt(text.replace('+', ''))));
}
