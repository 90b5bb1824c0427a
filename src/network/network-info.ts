/**
 * A swarm network as this node needs it, and its two other shapes: SwarmKit's Network object, and
 * the options and labels of its twin on the Docker Engine.
 */
import { deriveIpv6, hasRoom, ingressSubnet6 } from '../model/derived-addresses.js';
import { SkepError } from '../model/errors.js';
import type { Network } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { ENCRYPTED_DRIVER_OPTION } from '../model/labels/keys.js';
import { parseIpPrefix } from '../model/ip-prefix.js';
import { isIpv4, parseAddressWithPrefix, parseCidr, subnetContains } from './addresses.js';

/** Label and option of a twin network: the id of the swarm network it stands for. */
export const NETWORK_ID_LABEL = 'skep.network.id';
const VNI_OPTION = 'skep.network.vni';
const SUBNETS6_OPTION = 'skep.network.subnets6';
const INGRESS_OPTION = 'skep.network.ingress';
const ENCRYPTED_OPTION = 'skep.network.encrypted';
const ATTACHABLE_OPTION = 'skep.network.attachable';
const MTU_OPTION = 'com.docker.network.driver.mtu';
/** Where SwarmKit's allocator puts the VXLAN ids, comma separated, one a subnet. */
export const VXLAN_IDS_OPTION = 'com.docker.network.driver.overlay.vxlanid_list';
const VNI_MAX = 0xff_ff_ff;

/** One subnet of a network, with the VXLAN id that carries it. */
export interface SubnetInfo {
  readonly vni: number;
  /** CIDR. */
  readonly subnet: string;
  readonly gateway: string;
  /** IPv6 CIDR of a dual-stack network; members' addresses are derived from it. */
  readonly subnet6?: string;
}

/** An overlay network. */
export interface NetworkInfo {
  readonly id: string;
  readonly name: string;
  readonly subnets: readonly SubnetInfo[];
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  /** Carried by WireGuard only (`--opt encrypted`). */
  readonly encrypted: boolean;
  /** Underlay MTU asked for with `com.docker.network.driver.mtu`, bytes. */
  readonly mtu?: number;
}

/** True for networks of the overlay driver; `host` and `bridge` attachments are the engine's own. */
export function isOverlay(network: Network): boolean {
  const driver = network.driverState?.name || network.spec?.driverConfig?.name || 'overlay';
  return driver === 'overlay';
}

/** Reads a SwarmKit network. @throws SkepError when the allocator has not finished with it. */
export function networkInfoOf(network: Network): NetworkInfo {
  const name = network.spec?.annotations?.name ?? '';
  const options = { ...network.spec?.driverConfig?.options, ...network.driverState?.options };
  const configs = (network.ipam?.configs ?? []).map((config) => ({
    subnet: config.subnet,
    gateway: config.gateway,
  }));
  const ingress = network.spec?.ingress ?? false;
  const given = configs.map(({ subnet }) => subnet).filter(isIpv6Subnet);
  return buildInfo({
    subnets6: ingress && given.length === 0 ? [ingressSubnet6(network.id)] : given,
    id: network.id,
    name,
    vnis: options[VXLAN_IDS_OPTION] ?? '',
    configs,
    internal: network.spec?.internal ?? false,
    attachable: network.spec?.attachable ?? false,
    ingress,
    // As in stock Swarm the option counts, whatever its value.
    encrypted: options[ENCRYPTED_DRIVER_OPTION] !== undefined,
    mtu: options[MTU_OPTION],
  });
}

/** What the engine's API takes to make the twin of a network. */
export interface TwinSpec {
  readonly Labels: Readonly<Record<string, string>>;
  readonly Options: Readonly<Record<string, string>>;
  readonly IpamOptions: Readonly<Record<string, string>>;
  readonly IpamConfig: readonly { readonly Subnet: string; readonly Gateway: string }[];
}

/** Everything needed to know the network again from its twin alone. */
export function twinSpecOf(info: NetworkInfo): TwinSpec {
  const Options: Record<string, string> = {
    [NETWORK_ID_LABEL]: info.id,
    [VNI_OPTION]: info.subnets.map((subnet) => subnet.vni).join(','),
    [ATTACHABLE_OPTION]: String(info.attachable),
    [INGRESS_OPTION]: String(info.ingress),
    [ENCRYPTED_OPTION]: String(info.encrypted),
  };
  const subnets6 = info.subnets.map(({ subnet6 }) => subnet6 ?? '');
  if (subnets6.some((subnet6) => subnet6 !== '')) Options[SUBNETS6_OPTION] = subnets6.join(',');
  if (info.mtu !== undefined) Options[MTU_OPTION] = String(info.mtu);
  return {
    Labels: { [NETWORK_ID_LABEL]: info.id },
    Options,
    IpamOptions: { [NETWORK_ID_LABEL]: info.id },
    IpamConfig: info.subnets.map(({ subnet, gateway }) => ({ Subnet: subnet, Gateway: gateway })),
  };
}

/** The part of the engine's answer to `GET /networks/{id}` that describes a twin. */
export interface TwinNetwork {
  readonly Id: string;
  readonly Name: string;
  readonly Internal?: boolean | undefined;
  readonly Options?: Readonly<Record<string, string>> | null | undefined;
  readonly IPAM?:
    | { readonly Config?: readonly { Subnet?: string; Gateway?: string }[] | null | undefined }
    | undefined;
}

/** Reads a network back from its twin. @throws SkepError when it is not one of ours. */
export function networkInfoOfTwin(twin: TwinNetwork): NetworkInfo {
  const options = twin.Options ?? {};
  return buildInfo({
    id: options[NETWORK_ID_LABEL] ?? '',
    name: twin.Name,
    vnis: options[VNI_OPTION] ?? '',
    subnets6: (options[SUBNETS6_OPTION] ?? '').split(','),
    configs: (twin.IPAM?.Config ?? []).map((config) => ({
      subnet: config.Subnet ?? '',
      gateway: config.Gateway ?? '',
    })),
    internal: twin.Internal ?? false,
    attachable: options[ATTACHABLE_OPTION] === 'true',
    ingress: options[INGRESS_OPTION] === 'true',
    encrypted: options[ENCRYPTED_OPTION] === 'true',
    mtu: options[MTU_OPTION],
  });
}

/** The subnet an address of this network belongs to. */
export function subnetOf(info: NetworkInfo, address: string): SubnetInfo | undefined {
  return info.subnets.find(({ subnet }) => subnetContains(subnet, address));
}

/** Prefix length of the subnet an address belongs to. */
export function prefixLengthOf(subnet: SubnetInfo): number {
  return parseAddressWithPrefix(subnet.subnet)?.prefixLength ?? 32;
}

/** IPv6 address of a member; undefined if the network has none. */
export function ipv6Of(subnet: SubnetInfo, address: string): string | undefined {
  const { subnet6 } = subnet;
  return subnet6 === undefined
    ? undefined
    : deriveIpv6({ subnet: subnet.subnet, subnet6 }, address);
}

function isIpv6Subnet(subnet: string): boolean {
  return subnet.includes(':');
}

interface RawNetwork {
  readonly id: string;
  readonly name: string;
  readonly vnis: string;
  /** By position; the first belongs to the first IPv4 subnet. Empty: none. */
  readonly subnets6: readonly string[];
  readonly configs: readonly { readonly subnet: string; readonly gateway: string }[];
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly encrypted: boolean;
  readonly mtu: string | undefined;
}

function buildInfo(raw: RawNetwork): NetworkInfo {
  const refuse = (why: string): never => {
    throw new SkepError('failed_precondition', `network ${raw.name || raw.id}: ${why}`);
  };
  if (raw.id === '' || raw.name === '') refuse('it has no id or name');
  const configs = raw.configs.filter(({ subnet }) => !isIpv6Subnet(subnet));
  const vnis = raw.vnis.split(',').map(Number);
  if (configs.length === 0) refuse('no subnet has been allocated');
  const subnets = configs.map(({ subnet, gateway }, index): SubnetInfo => {
    const vni = vnis[index] ?? Number.NaN;
    if (!Number.isInteger(vni) || vni < 1 || vni > VNI_MAX) refuse('no VXLAN id is allocated');
    if (parseCidr(subnet) === undefined) refuse(`subnet ${subnet} is malformed`);
    const plain = gateway.split('/')[0] ?? '';
    if (!isIpv4(plain)) refuse(`gateway ${gateway} is malformed`);
    const info = { vni, subnet, gateway: plain };
    const subnet6 = raw.subnets6[index] ?? '';
    if (subnet6 === '') return info;
    if (parseIpPrefix(subnet6)?.version !== 6) refuse(`subnet ${subnet6} is malformed`);
    if (!hasRoom({ subnet, subnet6 })) refuse(`subnet ${subnet6} is smaller than ${subnet}`);
    return { ...info, subnet6 };
  });
  const mtu = raw.mtu === undefined ? undefined : Number(raw.mtu);
  if (mtu !== undefined && (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_535)) {
    refuse(`MTU ${raw.mtu} is out of range`);
  }
  const { id, name, internal, attachable, ingress, encrypted } = raw;
  const base = { id, name, subnets, internal, attachable, ingress, encrypted };
  return mtu === undefined ? base : { ...base, mtu };
}
