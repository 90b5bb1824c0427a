/**
 * `/skep/net`: what this node's data path does. Not part of Docker's API: the `skep net` command
 * and dashboards read it.
 */
import { once } from 'node:events';
import { isIP } from 'node:net';
import type {
  BackendRow,
  ConnectionRow,
  CounterRow,
  DatapathState,
  ServiceRow,
  TraceFilter,
  TraceRow,
} from '../../native/datapath-types.js';
import type { DirectRow } from '../../network/direct/types.js';
import type { PathReport } from '../../network/paths/types.js';
import type { RepairCounts } from '../../network/repairer.js';
import type { UnreadyTask } from '../../network/types.js';
import { ApiError, badRequest } from '../http/api-error.js';
import { type JsonOut, writeJson } from '../http/json-text.js';
import { type ApiRequest, DONE, json, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import {
  CONNECTIONS_LISTED_DEFAULT,
  CONNECTIONS_LISTED_MAX,
  TRACE_SECONDS_DEFAULT,
  TRACE_SECONDS_MAX,
} from '../limits.js';
import type { RouteContext } from './context.js';

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  icmpv6: 58,
  sctp: 132,
};

/** The routes. */
export function netRoutes(context: RouteContext): readonly Route[] {
  const sight = () => context.membership.sight;
  return [
    {
      method: 'GET',
      pattern: '/skep/net/counters',
      handler: () =>
        json({
          ...counterFields(sight().counters(), sight().repairs()),
          Gossip: { ...sight().gossip() },
        }),
    },
    {
      method: 'GET',
      pattern: '/skep/net/paths',
      handler: () => json(pathFields(sight().paths())),
    },
    {
      method: 'GET',
      pattern: '/skep/net/services',
      handler: () => {
        const { services, backends } = sight().rows();
        const { nodes } = sight().direct();
        return json(services.map((row) => serviceFields(row, returnFields(row, backends, nodes))));
      },
    },
    {
      method: 'GET',
      pattern: '/skep/net/unready',
      handler: () => json(sight().unready().map(unreadyFields)),
    },
    {
      method: 'GET',
      pattern: '/skep/net/tables',
      handler: () => json(tableFields(sight().rows())),
    },
    {
      method: 'GET',
      pattern: '/skep/net/connections',
      handler: (request) => {
        const max = wholeNumber(
          request,
          'limit',
          CONNECTIONS_LISTED_DEFAULT,
          CONNECTIONS_LISTED_MAX,
        );
        return json(sight().connections(max).map(connectionFields));
      },
    },
    {
      method: 'GET',
      pattern: '/skep/net/trace',
      handler: (request) => trace(context, request),
    },
  ];
}

/** A query value between 0 and `max`. @throws ApiError 400 */
function wholeNumber(request: ApiRequest, key: string, fallback: number, max: number): number {
  const text = request.query.get(key) ?? '';
  if (text === '') return fallback;
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value > max)
    throw badRequest(`invalid ${key} '${text}': a whole number up to ${max}`);
  return value;
}

function counterFields(rows: readonly CounterRow[], repairs: RepairCounts) {
  return {
    Counters: rows.map(({ reason, packets, bytes }) => ({
      Reason: reason,
      Packets: packets,
      Bytes: bytes,
    })),
    Repairs: {
      Rows: repairs.rows,
      Links: repairs.links,
      Parts: repairs.parts,
      Rules: repairs.rules,
    },
  };
}

function pathFields({ softwareChecksums, paths }: PathReport): JsonOut {
  return {
    SoftwareChecksums: softwareChecksums,
    Paths: paths.map(({ owner, nodeId, tunnelAddress, state, text, roundTripMs }) => ({
      Node: owner,
      IngressAddress: nodeId,
      TunnelAddress: tunnelAddress,
      State: state.kind,
      ...(roundTripMs === undefined ? {} : { RoundTripMs: roundTripMs }),
      Text: text,
    })),
  };
}

/** How replies of a service return: what it wishes, and what is done about each node with tasks of it. */
function returnFields(
  { direct, backends }: ServiceRow,
  known: readonly BackendRow[],
  nodes: readonly DirectRow[],
): JsonOut {
  if (direct !== true) return { Wanted: 'tunnel' };
  const own = new Set(backends.map(({ vni, address }) => `${vni}/${address}`));
  const tunnels = new Set(
    known
      .filter(({ vni, address }) => own.has(`${vni}/${address}`))
      .flatMap(({ tunnelAddress }) => tunnelAddress ?? []),
  );
  return {
    Wanted: 'direct',
    Nodes: nodes
      .filter(({ tunnelAddress }) => tunnels.has(tunnelAddress))
      .map(({ owner, tunnelAddress, state, text }) => ({
        Node: owner,
        TunnelAddress: tunnelAddress,
        Return: state.kind === 'proven' ? 'direct' : 'tunnel',
        Text: text,
      })),
  };
}

function serviceFields(row: ServiceRow, returns: JsonOut): JsonOut {
  const { key, targetPort, ports = 1, backends, allow, retired } = row;
  const addresses = backends.map(({ address }) => address);
  if (key.kind === 'vip')
    return { Kind: 'vip', Network: key.vni, Address: key.address, Backends: addresses };
  return {
    Kind: key.kind,
    ...(key.address === undefined ? {} : { Address: key.address }),
    Protocol: key.protocol,
    Port: key.port,
    ...(ports > 1 ? { Ports: ports } : {}),
    TargetPort: targetPort ?? key.port,
    Backends: addresses,
    ...(allow === undefined ? {} : { Clients: [...allow] }),
    ...(retired === true ? { Retired: true } : {}),
    ...(key.kind === 'published' ? { Return: returns } : {}),
  };
}

function unreadyFields(task: UnreadyTask): JsonOut {
  return {
    ID: task.taskId,
    Name: task.taskName,
    Service: task.serviceName,
    Addresses: [...task.addresses],
    Reason: task.reason,
  };
}

/** Where addresses live, as the kernel holds it: `Tunnel` is absent for what lives on this node. */
function tableFields({
  nodes,
  networks,
  links,
  remoteEndpoints,
  backends,
}: DatapathState): JsonOut {
  const own = networks.flatMap(({ vni, nodeAddress }) =>
    nodeAddress === undefined ? [] : [{ vni, address: nodeAddress }],
  );
  return {
    Nodes: nodes.map(({ nodeId, tunnelAddress }) => ({
      IngressAddress: nodeId,
      Tunnel: tunnelAddress,
    })),
    Endpoints: [
      ...[...own, ...links].map(({ vni, address }) => ({ Network: vni, Address: address })),
      ...remoteEndpoints.map(({ vni, address, tunnelAddress }) => ({
        Network: vni,
        Address: address,
        Tunnel: tunnelAddress,
      })),
    ],
    Backends: backends.map(({ vni, address, state }) => ({
      Network: vni,
      Address: address,
      State: state,
    })),
  };
}

function connectionFields(row: ConnectionRow): JsonOut {
  return {
    Kind: row.kind,
    Protocol: row.protocol,
    Network: row.vni,
    Source: row.source,
    SourcePort: row.sourcePort,
    Destination: row.destination,
    DestinationPort: row.destinationPort,
    State: row.state,
    Other: row.other,
    OtherPort: row.otherPort,
    IdleSeconds: row.idleSeconds,
  };
}

/** Lines of JSON, one for each packet a program has seen, until the time is over or the client goes. */
async function trace(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const filter = traceFilter(request);
  const { response } = request;
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(filter.durationMs)]);
  const batches = context.membership.sight.trace(filter, signal);
  response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
  response.flushHeaders();
  for await (const rows of batches) {
    const text = rows.map((row) => `${writeJson(traceFields(row))}\n`).join('');
    if (!response.write(text))
      await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
  response.end();
  return DONE;
}

/** @throws ApiError 400 */
function traceFilter(request: ApiRequest): TraceFilter {
  const address = request.query.get('client') ?? '';
  if (isIP(address) === 0) throw badRequest(`invalid client '${address}': an IP address`);
  const protocolName = request.query.get('protocol') ?? '';
  const protocol = PROTOCOLS[protocolName] ?? 0;
  if (protocolName !== '' && protocol === 0)
    throw badRequest(`invalid protocol '${protocolName}': ${Object.keys(PROTOCOLS).join(', ')}`);
  const seconds = wholeNumber(request, 'seconds', TRACE_SECONDS_DEFAULT, TRACE_SECONDS_MAX);
  if (seconds === 0) throw new ApiError(400, 'invalid seconds: at least 1');
  return {
    address,
    port: wholeNumber(request, 'port', 0, 65_535),
    protocol,
    durationMs: seconds * 1000,
  };
}

function traceFields(row: TraceRow): JsonOut {
  return {
    TimeNs: row.timeNs,
    Program: row.program,
    Interface: row.interfaceName,
    Protocol: row.protocol,
    Source: row.source,
    SourcePort: row.sourcePort,
    Destination: row.destination,
    DestinationPort: row.destinationPort,
    TcpFlags: row.tcpFlags,
    Bytes: row.bytes,
    Steps: row.steps,
    Verdict: row.verdict,
  };
}
