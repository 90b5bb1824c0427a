/**
 * Values of the two gossip tables as plain objects. Decoding is for bytes other machines sent:
 * anything malformed or out of bounds yields `undefined`, never an exception.
 */
import { createHash } from 'node:crypto';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  EndpointRecordSchema,
  PeerRecordSchema,
  type PortConfig,
  PortConfig_Protocol,
  PortConfigSchema,
} from '../model/gen/skep/network/v1/tables_pb.js';
import type { PortProtocol } from '../native/datapath-types.js';
import { isIpv4, isMac, parseAddressWithPrefix, tunnelAddressOf } from './addresses.js';
import { ALIASES_PER_RECORD_MAX, ENTRY_BYTES_MAX, PORTS_PER_RECORD_MAX } from './limits.js';

/** Table of names and load-balancing targets. */
export const ENDPOINT_TABLE = 'endpoint_table';
/** Table of addresses and the tunnels that lead to them. */
export const PEER_TABLE = 'overlay_peer_table';

/** Key in the peer table of a node's own address on a network: tells it from its tasks'. */
export function nodeKey(nodeId: string, networkId: string): string {
  return createHash('sha256').update(`skep node ${nodeId} ${networkId}`).digest('hex');
}

const NAME_LENGTH_MAX = 255;

/** A port of a service published on every node. */
export interface RecordPort {
  readonly protocol: PortProtocol;
  readonly targetPort: number;
  readonly publishedPort: number;
}

/** One container interface as a name and a target. */
export interface EndpointValue {
  readonly name: string;
  readonly serviceName: string;
  /** Empty for a plain container on an attachable network. */
  readonly serviceId: string;
  /** Empty in dnsrr mode. */
  readonly virtualIp: string;
  readonly endpointIp: string;
  readonly ingressPorts: readonly RecordPort[];
  readonly aliases: readonly string[];
  readonly taskAliases: readonly string[];
  /** Draining: no new connections, out of DNS. */
  readonly disabled: boolean;
}

/** Where an address lives. */
export interface PeerValue {
  readonly address: string;
  readonly prefixLength: number;
  readonly mac: string;
  readonly tunnelAddress: string;
}

/** Bytes for `endpoint_table`. */
export function encodeEndpoint(value: EndpointValue): Uint8Array {
  const record = create(EndpointRecordSchema, {
    name: value.name,
    serviceName: value.serviceName,
    serviceId: value.serviceId,
    virtualIp: value.virtualIp,
    endpointIp: value.endpointIp,
    ingressPorts: value.ingressPorts.map(encodePort),
    aliases: [...value.aliases],
    taskAliases: [...value.taskAliases],
    serviceDisabled: value.disabled,
  });
  return toBinary(EndpointRecordSchema, record);
}

/** Reads a value of `endpoint_table`. */
export function decodeEndpoint(bytes: Uint8Array): EndpointValue | undefined {
  const record = guarded(() => fromBinary(EndpointRecordSchema, bytes), bytes);
  if (record === undefined || !isIpv4(record.endpointIp)) return undefined;
  if (record.virtualIp !== '' && !isIpv4(record.virtualIp)) return undefined;
  if (record.ingressPorts.length > PORTS_PER_RECORD_MAX) return undefined;
  const names = [record.name, record.serviceName, record.serviceId];
  const aliases = [...record.aliases, ...record.taskAliases];
  if (aliases.length > ALIASES_PER_RECORD_MAX) return undefined;
  if ([...names, ...aliases].some((name) => name.length > NAME_LENGTH_MAX)) return undefined;
  return {
    name: record.name,
    serviceName: record.serviceName,
    serviceId: record.serviceId,
    virtualIp: record.virtualIp,
    endpointIp: record.endpointIp,
    ingressPorts: record.ingressPorts.flatMap(decodePort),
    aliases: record.aliases,
    taskAliases: record.taskAliases,
    disabled: record.serviceDisabled,
  };
}

/** Bytes for `overlay_peer_table`. */
export function encodePeer(value: PeerValue): Uint8Array {
  const record = create(PeerRecordSchema, {
    endpointIp: `${value.address}/${value.prefixLength}`,
    endpointMac: value.mac,
    tunnelEndpointIp: value.tunnelAddress,
  });
  return toBinary(PeerRecordSchema, record);
}

/** Reads a value of `overlay_peer_table`. */
export function decodePeer(bytes: Uint8Array): PeerValue | undefined {
  const record = guarded(() => fromBinary(PeerRecordSchema, bytes), bytes);
  const endpoint = record && parseAddressWithPrefix(record.endpointIp);
  const mac = record?.endpointMac.toLowerCase();
  if (record === undefined || endpoint === undefined || mac === undefined) return undefined;
  const tunnelAddress = tunnelAddressOf(record.tunnelEndpointIp);
  if (!isMac(mac) || tunnelAddress === undefined) return undefined;
  return { ...endpoint, mac, tunnelAddress };
}

const PROTOCOLS: Readonly<Record<PortProtocol, PortConfig_Protocol>> = {
  tcp: PortConfig_Protocol.TCP,
  udp: PortConfig_Protocol.UDP,
  sctp: PortConfig_Protocol.SCTP,
};

/** The protocol with this number in PortConfig (libnetwork's and SwarmKit's agree). */
export function protocolOf(value: number): PortProtocol | undefined {
  switch (value) {
    case 0:
      return 'tcp';
    case 1:
      return 'udp';
    case 2:
      return 'sctp';
    default:
      return undefined;
  }
}

function encodePort(port: RecordPort): PortConfig {
  return create(PortConfigSchema, {
    protocol: PROTOCOLS[port.protocol],
    targetPort: port.targetPort,
    publishedPort: port.publishedPort,
  });
}

function decodePort(port: PortConfig): RecordPort[] {
  const protocol = protocolOf(port.protocol);
  if (protocol === undefined || !isPort(port.targetPort) || !isPort(port.publishedPort)) return [];
  return [{ protocol, targetPort: port.targetPort, publishedPort: port.publishedPort }];
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value < 65_536;
}

function guarded<T>(decode: () => T, bytes: Uint8Array): T | undefined {
  // Stock nodes may write somewhat longer values than we do ourselves.
  if (bytes.length > 16 * ENTRY_BYTES_MAX) return undefined;
  try {
    return decode();
  } catch {
    // Not a record: the caller counts it.
    return undefined;
  }
}
