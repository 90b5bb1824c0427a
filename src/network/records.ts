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
  type RestrictedPort,
  RestrictedPortSchema,
} from '../model/gen/skep/network/v1/tables_pb.js';
import { parseIpPrefix } from '../model/ip-prefix.js';
import {
  ALLOW_BYTES_MAX,
  networksBytes,
  parseNetworks,
  parseScope,
  type PublishRule,
} from '../model/publish-rules.js';
import type { PortProtocol } from '../native/datapath-types.js';
import { isIpv4, isMac, isUnicast, parseAddressWithPrefix } from './addresses.js';
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
export interface RecordPort extends Partial<PublishRule> {
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
    ingressPorts: value.ingressPorts.filter((port) => !isRestricted(port)).map(encodePort),
    // An empty list on the wire is everybody; a port that is open to nobody is not announced.
    restrictedPorts: value.ingressPorts
      .filter((port) => isRestricted(port) && port.allow?.length !== 0)
      .map(encodeRestricted),
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
  const ports = record.ingressPorts.length + record.restrictedPorts.length;
  if (ports > PORTS_PER_RECORD_MAX) return undefined;
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
    ingressPorts: [
      ...record.ingressPorts.flatMap(decodePort),
      ...record.restrictedPorts.flatMap(decodeRestricted),
    ],
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
  if (!isMac(mac) || !isUnicast(record.tunnelEndpointIp)) return undefined;
  return { ...endpoint, mac, tunnelAddress: record.tunnelEndpointIp };
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

function isRestricted(port: RecordPort): boolean {
  return port.scope !== undefined || port.allow !== undefined;
}

function encodeRestricted(port: RecordPort): RestrictedPort {
  return create(RestrictedPortSchema, {
    port: encodePort(port),
    scope: port.scope ?? '',
    allow: (port.allow ?? []).flatMap((network) => encodeNetwork(network) ?? []),
  });
}

/** A rule that cannot be read closes the port: what was restricted is not opened to everybody. */
function decodeRestricted({ port, scope, allow }: RestrictedPort): RecordPort[] {
  const [plain] = port === undefined ? [] : decodePort(port);
  const parsed = scope === '' ? undefined : parseScope(scope);
  const networks = allow.flatMap((bytes) => decodeNetwork(bytes) ?? []);
  if (plain === undefined || (scope !== '' && parsed === undefined)) return [];
  if (networks.length !== allow.length || networksBytes(networks) > ALLOW_BYTES_MAX) return [];
  return [{ ...plain, scope: parsed, allow: networks.length === 0 ? undefined : networks }];
}

function encodeNetwork(text: string): Uint8Array | undefined {
  const prefix = parseIpPrefix(text);
  if (prefix === undefined) return undefined;
  const size = prefix.version === 4 ? 4 : 16;
  const digits = prefix.address.toString(16).padStart(size * 2, '0');
  return Buffer.concat([Buffer.from(digits, 'hex'), Buffer.from([prefix.length])]);
}

function decodeNetwork(bytes: Uint8Array): string | undefined {
  if (bytes.length !== 5 && bytes.length !== 17) return undefined;
  const address = [...bytes.subarray(0, -1)];
  const text =
    address.length === 4 ? address.join('.') : Buffer.from(address).toString('hex').match(/..../g);
  return parseNetworks(`${typeof text === 'string' ? text : text?.join(':')}/${bytes.at(-1)}`)?.[0];
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
