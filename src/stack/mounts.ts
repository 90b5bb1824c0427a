/** Mounts of a service as the API takes them. */
import { SkepError } from '../model/errors.js';
import type { Volume } from './file-schema.js';
import type { Namespace } from './namespace.js';
import type { ServiceVolume } from './service-volumes.js';

type Options = 'bind' | 'volume' | 'tmpfs' | 'image';

function refuse(text: string): never {
  throw new SkepError('invalid_argument', text);
}

/** @throws SkepError invalid_argument in the words of the docker CLI */
export function mountOf(
  volume: ServiceVolume,
  volumes: ReadonlyMap<string, Volume>,
  namespace: Namespace,
): object {
  const { type, source = '', target, read_only, consistency } = volume;
  const base = {
    Type: type,
    Target: target,
    ...(source === '' ? {} : { Source: source }),
    ...(read_only === undefined ? {} : { ReadOnly: read_only }),
    ...(consistency === undefined ? {} : { Consistency: consistency }),
  };
  switch (type) {
    case 'volume':
      checkOptions(volume, 'volume');
      return source === '' ? base : { ...base, ...namedVolume(volume, source, volumes, namespace) };
    case 'bind': {
      if (source === '') refuse('invalid bind source, source cannot be empty');
      checkOptions(volume, 'bind');
      const { propagation, recursive } = volume.bind ?? {};
      const bind = {
        ...(propagation === undefined ? {} : { Propagation: propagation }),
        ...(recursive === 'disabled' ? { NonRecursive: true } : {}),
      };
      return volume.bind === undefined ? base : { ...base, BindOptions: bind };
    }
    case 'tmpfs': {
      if (source !== '') refuse('invalid tmpfs source, source must be empty');
      checkOptions(volume, 'tmpfs');
      const { size, mode } = volume.tmpfs ?? {};
      const tmpfs = {
        ...(size === undefined ? {} : { SizeBytes: size }),
        ...(mode === undefined ? {} : { Mode: mode }),
      };
      return volume.tmpfs === undefined ? base : { ...base, TmpfsOptions: tmpfs };
    }
    case 'cluster':
      refuse('cluster volumes (CSI) are not supported');
      break;
    default:
      refuse(`mounts of type ${type} cannot be had in a swarm of Linux nodes`);
  }
}

function checkOptions(volume: ServiceVolume, own: Options): void {
  for (const other of ['bind', 'volume', 'tmpfs', 'image'] as const)
    if (other !== own && volume[other] !== undefined)
      refuse(`${other} options are incompatible with type ${own}`);
}

function namedVolume(
  { volume }: ServiceVolume,
  source: string,
  volumes: ReadonlyMap<string, Volume>,
  namespace: Namespace,
): object {
  const declared = volumes.get(source) ?? {};
  const noCopy = volume?.nocopy === undefined ? {} : { NoCopy: volume.nocopy };
  if (declared.external === true) return { Source: declared.name ?? source, VolumeOptions: noCopy };
  const { driver, driver_opts } = declared;
  const hasDriver = driver !== undefined || driver_opts !== undefined;
  return {
    Source: declared.name ?? namespace.scope(source),
    VolumeOptions: {
      ...noCopy,
      Labels: namespace.label({ ...volume?.labels, ...declared.labels }),
      ...(hasDriver
        ? { DriverConfig: { Name: driver ?? '', ...(driver_opts ? { Options: driver_opts } : {}) } }
        : {}),
    },
  };
}
