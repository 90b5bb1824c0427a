/**
 * `skep net`: what this node's data path does, as tables for people. Reads `/skep/net` of skepd.
 */
import { callApi, followApi } from './docker-api.js';

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmpv6',
  132: 'sctp',
};
const TCP_FLAGS: readonly (readonly [number, string])[] = [
  [0x02, 'SYN'],
  [0x10, 'ACK'],
  [0x01, 'FIN'],
  [0x04, 'RST'],
  [0x08, 'PSH'],
];

interface Counters {
  readonly Counters: readonly { Reason: string; Packets: number; Bytes: number }[];
  readonly Repairs: Readonly<Record<string, number>>;
  readonly Gossip: Readonly<Record<string, number>>;
}

interface Report {
  readonly SoftwareChecksums: boolean;
  readonly Paths: readonly {
    readonly Node: string;
    readonly TunnelAddress: string;
    readonly State: string;
    readonly RoundTripMs?: number;
    readonly Text: string;
  }[];
}

const SOFTWARE_CHECKSUMS =
  'This node makes the checksums of its tunnel packets in software, since an offload broke them.';

interface Service {
  readonly Kind: 'vip' | 'published' | 'landing';
  readonly Network?: number;
  readonly Address?: string;
  readonly Protocol?: string;
  readonly Port?: number;
  /** Published from there on, where there are several. */
  readonly Ports?: number;
  readonly TargetPort?: number;
  readonly Backends: readonly string[];
  /** Published no more: only connections of before use it. */
  readonly Retired?: boolean;
  /** Absent: everybody. */
  readonly Clients?: readonly string[];
  /** Of published ports: how replies from other nodes get back. */
  readonly Return?: {
    readonly Wanted: 'tunnel' | 'direct';
    readonly Nodes?: readonly { readonly Return: 'tunnel' | 'direct'; readonly Text: string }[];
  };
}

interface Unready {
  readonly Name: string;
  readonly Addresses: readonly string[];
  readonly Reason: string;
}

interface Connection {
  readonly Kind: string;
  readonly Protocol: number;
  readonly Source: string;
  readonly SourcePort: number;
  readonly Destination: string;
  readonly DestinationPort: number;
  readonly State: string;
  readonly Other: string;
  readonly OtherPort: number;
  readonly IdleSeconds: number;
}

interface Step {
  readonly TimeNs: number;
  readonly Program: string;
  readonly Interface: string;
  readonly Protocol: number;
  readonly Source: string;
  readonly SourcePort: number;
  readonly Destination: string;
  readonly DestinationPort: number;
  readonly TcpFlags: number;
  readonly Bytes: number;
  readonly Steps: readonly string[];
  readonly Verdict: string;
}

/** What to follow; see `skep net trace --help`. */
export interface TraceOptions {
  readonly client: string;
  readonly port: string;
  readonly protocol: string;
  readonly seconds: string;
}

/** Counters that are not zero; all of them with `all`. */
export async function netCounters(socket: string, all: boolean): Promise<readonly string[]> {
  const answer = (await callApi(socket, 'GET', '/skep/net/counters')) as Counters;
  const { Counters, Repairs, Gossip } = answer;
  const shown = Counters.filter(({ Packets }) => all || Packets > 0);
  const repairs = Object.entries(Repairs)
    .filter(([, count]) => all || count > 0)
    .map(([kind, count]) => [`repaired-${kind.toLowerCase()}`, String(count), '']);
  const gossip = Object.entries(Gossip)
    .filter(([, count]) => all || count > 0)
    .map(([name, count]) => [`gossip-${kebab(name)}`, String(count), '']);
  return table(
    ['REASON', 'PACKETS', 'BYTES'],
    [
      ...shown.map((row) => [row.Reason, String(row.Packets), String(row.Bytes)]),
      ...repairs,
      ...gossip,
    ],
  );
}

/** `droppedCrc` to `dropped-crc`. */
function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The paths to the other nodes, as this node's self-test finds them. */
export async function netPaths(socket: string): Promise<readonly string[]> {
  const { SoftwareChecksums, Paths } = (await callApi(socket, 'GET', '/skep/net/paths')) as Report;
  const rows = Paths.map((row) => [
    row.Node === '' ? '-' : row.Node,
    row.TunnelAddress,
    row.State,
    row.RoundTripMs === undefined ? '' : `${row.RoundTripMs.toFixed(1)}ms`,
    row.Text,
  ]);
  return [
    ...table(['NODE', 'TUNNEL', 'STATE', 'ROUND TRIP', 'WHAT IT MEANS'], rows),
    ...(SoftwareChecksums ? [SOFTWARE_CHECKSUMS] : []),
  ];
}

/** Virtual addresses and published ports with their backends, and tasks here that are not among them. */
export async function netServices(socket: string): Promise<readonly string[]> {
  const rows = (await callApi(socket, 'GET', '/skep/net/services')) as readonly Service[];
  const unready = (await callApi(socket, 'GET', '/skep/net/unready')) as readonly Unready[];
  const others = rows.flatMap(({ Return }) => Return?.Nodes ?? []);
  const reasons = others.filter((node) => node.Return === 'tunnel').map((node) => node.Text);
  const lines = table(
    ['LISTENS ON', 'TARGET PORT', 'BACKENDS', 'RETURN', 'CLIENTS'],
    rows.map((row) => [
      listensOn(row),
      row.Kind === 'vip' ? 'same' : String(row.TargetPort),
      row.Retired === true ? '(published no more)' : row.Backends.join(' '),
      returnOf(row),
      row.Clients?.join(' ') ?? '',
    ]),
  );
  return [
    ...lines,
    ...[...new Set(reasons)].map((text) => `Not direct: ${text}.`),
    ...unready.map(
      ({ Name, Addresses, Reason }) => `Not ready: ${Name} (${Addresses.join(', ')}): ${Reason}.`,
    ),
  ];
}

/** `direct`, or with how many of the other nodes that have tasks it is. */
function returnOf({ Return }: Service): string {
  if (Return === undefined) return '';
  const nodes = Return.Nodes ?? [];
  const direct = nodes.filter((node) => node.Return === 'direct').length;
  if (Return.Wanted === 'tunnel' || direct === nodes.length) return Return.Wanted;
  return `direct (${direct} of ${nodes.length} nodes)`;
}

function listensOn(row: Service): string {
  const first = row.Port ?? 0;
  const numbers = row.Ports === undefined ? first : `${first}-${first + row.Ports - 1}`;
  const port = `${numbers}/${row.Protocol ?? ''}`;
  switch (row.Kind) {
    case 'vip':
      return `${row.Address ?? ''} (network ${row.Network ?? 0})`;
    case 'published':
      return `${row.Address ?? '*'}:${port}`;
    case 'landing':
      return `any node:${port} for ${row.Address ?? ''}`;
  }
}

/** Flows through services that this node tracks. */
export async function netConnections(socket: string, limit: string): Promise<readonly string[]> {
  const path = `/skep/net/connections?limit=${encodeURIComponent(limit)}`;
  const rows = (await callApi(socket, 'GET', path)) as readonly Connection[];
  return table(
    ['KIND', 'PROTOCOL', 'SOURCE', 'DESTINATION', 'OTHER', 'STATE', 'IDLE'],
    rows.map((row) => [
      row.Kind,
      protocolName(row.Protocol),
      endpoint(row.Source, row.SourcePort),
      endpoint(row.Destination, row.DestinationPort),
      endpoint(row.Other, row.OtherPort),
      row.State,
      `${row.IdleSeconds}s`,
    ]),
  );
}

/** Prints a line for each packet a program of this node sees, until the time is over. */
export async function netTrace(
  socket: string,
  options: TraceOptions,
  print: (line: string) => void,
): Promise<void> {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(options)) {
    if (value !== '') query.set(key, value as string);
  }
  let first: number | undefined;
  await followApi(socket, `/skep/net/trace?${query.toString()}`, (line) => {
    const step = JSON.parse(line) as Step;
    first ??= step.TimeNs;
    print(traceLine(step, (step.TimeNs - first) / 1e6));
  });
}

function traceLine(step: Step, sinceMs: number): string {
  const flags = TCP_FLAGS.filter(([bit]) => (step.TcpFlags & bit) !== 0).map(([, name]) => name);
  return [
    `+${sinceMs.toFixed(3)} ms`,
    `${step.Program}(${step.Interface})`,
    protocolName(step.Protocol),
    `${endpoint(step.Source, step.SourcePort)} > ${endpoint(step.Destination, step.DestinationPort)}`,
    ...(flags.length === 0 ? [] : [flags.join(',')]),
    `${step.Bytes} bytes:`,
    [...step.Steps, step.Verdict].join(', '),
  ].join(' ');
}

function protocolName(number: number): string {
  return PROTOCOL_NAMES[number] ?? String(number);
}

function endpoint(address: string, port: number): string {
  const host = address.includes(':') ? `[${address}]` : address;
  return port === 0 ? host : `${host}:${port}`;
}

/** Columns as wide as their widest cell. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const lines = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  );
}
