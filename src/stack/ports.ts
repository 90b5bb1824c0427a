/**
 * Published ports: the short form `[address:][published:]target[/protocol]`, where both may be ranges,
 * and the long form.
 */
import { count, type Decode, isMapping, oneOf, record, text } from './decode.js';
import { PORT_RANGE_MAX } from './limits.js';
import type { Place } from './place.js';

/** One published port in the long form. */
export interface Port {
  readonly target: number;
  /** 0 lets the swarm choose. */
  readonly published: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly mode: 'ingress' | 'host';
  /** The only address it answers on; absent for all. */
  readonly host_ip?: string;
}

const protocol = oneOf('tcp', 'udp', 'sctp');

const port: Decode<number> = (value, place) => {
  const number = count(value, place);
  if (number > 65_535) throw place.error(`invalid port ${number}`);
  return number;
};

const LONG = record(
  { target: port, published: port, protocol, mode: oneOf('ingress', 'host'), host_ip: text },
  {
    name: 'names of ports are not kept',
    app_protocol: 'the protocol of the application is not kept',
  },
);

/** A list of ports in either form, as single ports. */
export const ports: Decode<readonly Port[]> = (value, place) => {
  if (!Array.isArray(value)) throw place.error('must be a list');
  return value.flatMap((entry, index) =>
    isMapping(entry)
      ? [longPort(entry, place.index(index))]
      : shortPorts(text(entry, place.index(index)), place.index(index)),
  );
};

function longPort(value: unknown, place: Place): Port {
  const { target, published = 0, host_ip, ...rest } = LONG(value, place);
  if (target === undefined) throw place.error('target is required');
  const address = hostAddress(host_ip ?? '');
  return { target, published, protocol: 'tcp', mode: 'ingress', ...rest, ...address };
}

function shortPorts(written: string, place: Place): readonly Port[] {
  const match =
    /^(?:(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]*)):)??(?:(\d*(?:-\d+)?):)?(\d+(?:-\d+)?)(?:\/(\w+))?$/.exec(
      written,
    );
  if (match === null) throw place.error(`invalid port ${JSON.stringify(written)}`);
  const [, bracketed, plain, published = '', target = '', protocolName = 'tcp'] = match;
  const [first, last] = range(target, place);
  const [from, to] = published === '' ? [0, 0] : range(published, place);
  // Several published ports may lead to one target, as with the docker CLI.
  const isOneTarget = first === last;
  const length = isOneTarget ? to - from + 1 : last - first + 1;
  if (published !== '' && to - from + 1 !== length)
    throw place.error(`invalid ranges specified for container and host ports: ${written}`);
  const address = hostAddress(bracketed ?? plain ?? '');
  return Array.from({ length }, (_, index) => ({
    target: isOneTarget ? first : first + index,
    published: published === '' ? 0 : from + index,
    protocol: protocol(protocolName.toLowerCase(), place),
    mode: 'ingress' as const,
    ...address,
  }));
}

function range(written: string, place: Place): readonly [number, number] {
  const [first = '', last = first] = written.split('-');
  const bounds = [port(first, place), port(last, place)] as const;
  if (bounds[1] < bounds[0] || bounds[1] - bounds[0] >= PORT_RANGE_MAX || bounds[0] === 0)
    throw place.error(`invalid range of ports ${written}`);
  return bounds;
}

function hostAddress(address: string): { readonly host_ip?: string } {
  return address === '' || address === '0.0.0.0' || address === '::' ? {} : { host_ip: address };
}
