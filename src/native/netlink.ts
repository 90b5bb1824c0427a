/**
 * The Netlink interface over the native class of the same name.
 */
import { loadAddon } from './addon.js';
import type { Netlink } from './datapath-types.js';

/** The class as the addon exports it: positional arguments, Node-like errors. */
interface NativeNetlink {
  createVethPair(name: string, peer: string, peerMac: string, mtu: number): void;
  createWireguard(name: string): void;
  setLinkMtu(name: string, mtu: number): void;
  setPairMtu(name: string, peerNamespace: string, mtu: number): void;
  setRouteInside(
    namespace: string,
    source: string,
    destination: string,
    prefixLength: number,
    gateway: string | undefined,
    metric: number,
  ): void;
  linkKind(name: string): string | undefined;
  setLinkUp(name: string): void;
  setLinkDown(name: string): void;
  deleteLink(name: string): boolean;
  linkNames(): string[];
  addresses(): { interfaceName: string; address: string; prefixLength: number }[];
  routeTo(address: string): { interfaceName: string; source: string; mtu: number };
}

/** Opens a netlink socket in the network namespace of this process. @throws Node-like errors */
export function openNetlink(): Netlink {
  const { Netlink: Native } = loadAddon() as { Netlink: new () => NativeNetlink };
  const native = new Native();
  return {
    createVethPair: ({ name, peer, peerMac, mtu }) =>
      native.createVethPair(name, peer, peerMac, mtu),
    createWireguard: (name) => native.createWireguard(name),
    setLinkMtu: (name, mtu) => native.setLinkMtu(name, mtu),
    setPairMtu: ({ name, peerNamespace, mtu }) => native.setPairMtu(name, peerNamespace, mtu),
    setRouteInside: ({ namespace, source, destination, prefixLength, gateway, metric }) =>
      native.setRouteInside(namespace, source, destination, prefixLength, gateway, metric),
    linkKind: (name) => native.linkKind(name),
    setLinkUp: (name) => native.setLinkUp(name),
    setLinkDown: (name) => native.setLinkDown(name),
    deleteLink: (name) => native.deleteLink(name),
    linkNames: () => native.linkNames(),
    addresses: () => native.addresses(),
    routeTo: (address) => native.routeTo(address),
  };
}

/** Something the data path is built from, and whether this kernel has it. */
export type KernelFeature =
  | 'veth'
  | 'vxlan'
  | 'bpf-lru-map'
  | 'bpf-trie-map'
  | 'bpf-tc-program'
  | 'bpf-socket-program';

/** Outcome of one trial. */
export interface KernelProbe {
  readonly feature: KernelFeature;
  /** Name of the errno, e.g. `EOPNOTSUPP`; undefined if it worked. */
  readonly code: string | undefined;
  readonly message: string;
}

/** Tries the kernel features by using them for a moment, in this network namespace. */
export function probeKernel(): readonly KernelProbe[] {
  const { probeKernel: probe } = loadAddon() as {
    probeKernel: () => readonly (readonly [KernelFeature, string, string])[];
  };
  return probe().map(([feature, code, message]) => ({
    feature,
    code: code === '' ? undefined : code,
    message,
  }));
}
