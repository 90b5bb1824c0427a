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
  type PortRange,
  PortRangeSchema,
  type RestrictedPort,
  RestrictedPortSchema,
} from '../model/gen/skep/network/v1/tables_pb.js';
import { type BalancePolicy, parseBalancePolicy } from '../model/balance-policy.js';
import { parseIpPrefix } from '../model/ip-prefix.js';
import {
  ALLOW_BYTES_MAX,
  networksBytes,
  parseNetworks,
  parseScope,
  type PublishRule,
} from '../model/publish-rules.js';
import type { ReturnPath } from '../model/return-path.js';
import type { PortProtocol } from '../native/datapath-types.js';
import { countOf } from './port-ranges.js';
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

/** Whether a name in the ring is a stock engine's: random hex digits, where nodes of ours have their swarm id. */
export function isStockEngine(owner: string): boolean {
  return /^[0-9a-f]{12}$/.test(owner);
}

const NAME_LENGTH_MAX = 255;
/** What a stock engine writes for an address that there is not: Go's text of one. */
const STOCK_NO_ADDRESS = '<nil>';
/** More ports than this never fit an entry one by one: each takes at least eight bytes. */
const SINGLE_PORTS_MAX = ENTRY_BYTES_MAX / 8;

/** A port of a service published on every node. */
export interface RecordPort extends Partial<PublishRule> {
  readonly protocol: PortProtocol;
  readonly targetPort: number;
  readonly publishedPort: number;
  /** Ports from there on, each leading to its own container port; 1 if absent. */
  readonly count?: number;
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
  /** How the service chooses among its tasks; stock engines do not say. */
  readonly policy?: BalancePolicy;
  /** How replies to outside clients return; stock engines do not say. */
  readonly returnPath?: ReturnPath;
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
  const plain = value.ingressPorts.filter((port) => !isRestricted(port));
  const total = plain.reduce((sum, port) => sum + countOf(port), 0);
  // Port by port, as stock engines read it, unless that cannot fit an entry anyway.
  const single = total <= SINGLE_PORTS_MAX ? encodeRecord(value, plain.flatMap(singly)) : undefined;
  if (single !== undefined && single.length <= ENTRY_BYTES_MAX) return single;
  return encodeRecord(value, plain);
}

function singly(port: RecordPort): RecordPort[] {
  return Array.from({ length: countOf(port) }, (_, index) => ({
    protocol: port.protocol,
    targetPort: port.targetPort + index,
    publishedPort: port.publishedPort + index,
  }));
}

function encodeRecord(value: EndpointValue, plain: readonly RecordPort[]): Uint8Array {
  const record = create(EndpointRecordSchema, {
    name: value.name,
    serviceName: value.serviceName,
    serviceId: value.serviceId,
    virtualIp: value.virtualIp,
    endpointIp: value.endpointIp,
    ingressPorts: plain.filter((port) => countOf(port) === 1).map(encodePort),
    portRanges: plain.filter((port) => countOf(port) > 1).map(encodeRange),
    // An empty list on the wire is everybody; a port that is open to nobody is not announced.
    restrictedPorts: value.ingressPorts
      .filter((port) => isRestricted(port) && port.allow?.length !== 0)
      .map(encodeRestricted),
    aliases: [...value.aliases],
    taskAliases: [...value.taskAliases],
    serviceDisabled: value.disabled,
    lbPolicy: value.policy === undefined || value.policy === 'maglev' ? '' : value.policy,
    directReturn: value.returnPath === 'direct',
  });
  return toBinary(EndpointRecordSchema, record);
}

/** Reads a value of `endpoint_table`. */
export function decodeEndpoint(bytes: Uint8Array): EndpointValue | undefined {
  const record = guarded(() => fromBinary(EndpointRecordSchema, bytes), bytes);
  if (record === undefined || !isIpv4(record.endpointIp)) return undefined;
  const virtualIp = record.virtualIp === STOCK_NO_ADDRESS ? '' : record.virtualIp;
  if (virtualIp !== '' && !isIpv4(virtualIp)) return undefined;
  const ports =
    record.ingressPorts.length + record.restrictedPorts.length + record.portRanges.length;
  if (ports > PORTS_PER_RECORD_MAX) return undefined;
  const names = [record.name, record.serviceName, record.serviceId];
  const aliases = [...record.aliases, ...record.taskAliases];
  if (aliases.length > ALIASES_PER_RECORD_MAX) return undefined;
  if ([...names, ...aliases].some((name) => name.length > NAME_LENGTH_MAX)) return undefined;
  return {
    name: record.name,
    serviceName: record.serviceName,
    serviceId: record.serviceId,
    virtualIp,
    endpointIp: record.endpointIp,
    ingressPorts: [
      ...record.ingressPorts.flatMap(decodePort),
      ...record.restrictedPorts.flatMap(decodeRestricted),
      ...record.portRanges.flatMap(decodeRange),
    ],
    aliases: record.aliases,
    taskAliases: record.taskAliases,
    disabled: record.serviceDisabled,
    policy: parseBalancePolicy(record.lbPolicy) ?? 'maglev',
    returnPath: record.directReturn ? 'direct' : 'tunnel',
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

function encodeRange(port: RecordPort): PortRange {
  return create(PortRangeSchema, { first: encodePort(port), count: countOf(port) });
}

function decodeRange({ first, count }: PortRange): RecordPort[] {
  const [port] = first === undefined ? [] : decodePort(first);
  if (port === undefined || count < 1) return [];
  const highest = Math.max(port.publishedPort, port.targetPort);
  return isPort(highest + count - 1) ? [{ ...port, count }] : [];
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
