/**
 * Mounts of a container spec in the engine's JSON, with SwarmKit's checks and texts
 * (executor/container/validate.go). That a bind source exists is left to the engine, which sees
 * its own file system.
 */
import type Docker from 'dockerode';
import { posix } from 'node:path';
import { SkepError } from '../model/errors.js';
import {
  type Mount,
  Mount_BindOptions_Propagation as Propagation,
  Mount_Consistency as Consistency,
  Mount_Type as MountType,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';

/** Everything a mount of the engine can say; @types/dockerode knows less. */
export interface EngineMount {
  readonly Type: 'bind' | 'volume' | 'tmpfs';
  readonly Source?: string;
  readonly Target: string;
  readonly ReadOnly?: boolean;
  readonly Consistency?: string;
  readonly BindOptions?: { readonly Propagation?: string; readonly NonRecursive?: boolean };
  readonly VolumeOptions?: Readonly<Record<string, unknown>>;
  readonly TmpfsOptions?: Readonly<Record<string, unknown>>;
}

function refuse(text: string): never {
  throw new SkepError('invalid_argument', text);
}

/** @throws SkepError invalid_argument with SwarmKit's text */
export function checkMount(mount: Mount): void {
  if (!posix.isAbsolute(mount.target)) {
    refuse(`invalid mount target, must be an absolute path: ${mount.target}`);
  }
  switch (mount.type) {
    case MountType.BIND:
      if (!posix.isAbsolute(mount.source)) {
        refuse(`invalid bind mount source, must be an absolute path: ${mount.source}`);
      }
      return;
    case MountType.VOLUME:
      if (posix.isAbsolute(mount.source)) {
        refuse(`invalid volume mount source, must not be an absolute path: ${mount.source}`);
      }
      return;
    case MountType.TMPFS:
      if (mount.source !== '') refuse('invalid tmpfs source, source must be empty');
      return;
    case MountType.NPIPE:
    case MountType.CLUSTER:
      refuse(`invalid mount type: ${MountType[mount.type]}`);
      break;
    default:
      refuse(`invalid mount type: ${String(mount.type)}`);
  }
}

/** One checked mount as the engine takes it. */
export function engineMount(mount: Mount): EngineMount {
  checkMount(mount);
  const base = {
    Target: mount.target,
    ReadOnly: mount.readonly,
    ...(mount.source === '' ? {} : { Source: mount.source }),
    ...(mount.consistency === Consistency.DEFAULT
      ? {}
      : { Consistency: Consistency[mount.consistency].toLowerCase() }),
  };
  switch (mount.type) {
    case MountType.BIND:
      return { ...base, Type: 'bind', ...bindOptions(mount) };
    case MountType.VOLUME:
      return { ...base, Type: 'volume', ...volumeOptions(mount) };
    default:
      return { ...base, Type: 'tmpfs', ...tmpfsOptions(mount) };
  }
}

function bindOptions(mount: Mount): Pick<EngineMount, 'BindOptions'> {
  const options = mount.bindOptions;
  if (options === undefined) return {};
  const propagation = Propagation[options.propagation].toLowerCase();
  return { BindOptions: { Propagation: propagation, NonRecursive: options.nonrecursive } };
}

function volumeOptions(mount: Mount): Pick<EngineMount, 'VolumeOptions'> {
  const options = mount.volumeOptions;
  if (options === undefined) return {};
  const driver = options.driverConfig;
  return {
    VolumeOptions: {
      NoCopy: options.nocopy,
      Labels: options.labels,
      ...(driver === undefined
        ? {}
        : { DriverConfig: { Name: driver.name, Options: driver.options } }),
    },
  };
}

function tmpfsOptions(mount: Mount): Pick<EngineMount, 'TmpfsOptions'> {
  const options = mount.tmpfsOptions;
  if (options === undefined) return {};
  return { TmpfsOptions: { SizeBytes: Number(options.sizeBytes), Mode: options.mode } };
}

/** All mounts of a container, in dockerode's type. */
export function engineMounts(mounts: readonly Mount[]): Docker.MountSettings[] {
  return mounts.map((mount) => engineMount(mount) as unknown as Docker.MountSettings);
}
