/**
 * Mounts of services: the short form `[source:]target[:options]`, and the long form.
 */
import { type Decode, flag, isMapping, mapOf, mode, oneOf, record, text } from './decode.js';
import type { Place } from './place.js';
import { size } from './units.js';

const PROPAGATIONS = ['rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave'] as const;
const CONSISTENCIES = ['consistent', 'cached', 'delegated', 'default'] as const;

const LONG = record(
  {
    type: oneOf('volume', 'bind', 'tmpfs', 'npipe', 'cluster', 'image'),
    source: text,
    target: text,
    read_only: flag,
    consistency: oneOf(...CONSISTENCIES),
    bind: record(
      { propagation: oneOf(...PROPAGATIONS), recursive: text },
      {
        create_host_path: 'a task fails where the path does not exist',
        selinux: 'labels of SELinux are not set',
      },
    ),
    volume: record(
      { nocopy: flag, labels: mapOf(text) },
      { subpath: 'the whole volume would be mounted' },
    ),
    tmpfs: record({ size, mode }),
    image: record({}, { subpath: 'images cannot be mounted' }),
  },
  {},
);

/** A mount in the long form; bind sources may still be relative. */
export type ServiceVolume = ReturnType<typeof LONG> & { readonly target: string };

/** One mount in either form. */
export const serviceVolume: Decode<ServiceVolume> = (value, place) => {
  if (!isMapping(value)) return shortVolume(text(value, place), place);
  const volume = LONG(value, place);
  if (volume.target === undefined) throw place.error('target is required');
  if (volume.type === undefined) throw place.error('type is required');
  return { ...volume, target: volume.target };
};

/** Mounts of `tmpfs: /run:size=64m,mode=1770`. */
export const tmpfsMount: Decode<ServiceVolume> = (value, place) => {
  const [target = '', ...rest] = text(value, place).split(':');
  const options: { size?: number; mode?: number } = {};
  for (const option of rest.join(':').split(',').filter(Boolean)) {
    const [key = '', given = ''] = option.split('=');
    if (key === 'size') options.size = size(given, place);
    else if (key === 'mode') options.mode = mode(given, place);
    else place.warn(`${option} cannot be had in a swarm and is ignored`);
  }
  return { type: 'tmpfs', target, ...(rest.length === 0 ? {} : { tmpfs: options }) };
};

function shortVolume(written: string, place: Place): ServiceVolume {
  const parts = written.split(':');
  if (written === '' || parts.length > 3 || parts.some((part) => part === ''))
    throw place.error(`invalid spec: ${written}`);
  const [first = '', target, options = ''] = parts;
  if (target === undefined) return { type: 'volume', target: first };
  const isPath = /^[/.~]/.test(first);
  let volume: ServiceVolume = { type: isPath ? 'bind' : 'volume', source: first, target };
  for (const option of options.split(',').filter(Boolean))
    volume = withOption(volume, option, place);
  return volume;
}

function withOption(volume: ServiceVolume, option: string, place: Place): ServiceVolume {
  const propagation = PROPAGATIONS.find((word) => word === option);
  if (propagation !== undefined) return { ...volume, bind: { propagation } };
  const consistency = CONSISTENCIES.find((word) => word === option);
  if (consistency !== undefined) return { ...volume, consistency };
  switch (option) {
    case 'ro':
      return { ...volume, read_only: true };
    case 'rw':
      return { ...volume, read_only: false };
    case 'nocopy':
      return { ...volume, volume: { nocopy: true } };
    default:
      place.warn(`${option} cannot be had in a swarm and is ignored`);
      return volume;
  }
}
