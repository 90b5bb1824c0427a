/**
 * The Netlink interface over the native class of the same name.
 */
import { loadAddon } from './addon.js';
import type { Netlink } from './datapath-types.js';

/** The class as the addon exports it: positional arguments, Node-like errors. */
interface NativeNetlink {
  createVethPair(name: string, peer: string, peerMac: string, mtu: number): void;
  setLinkUp(name: string): void;
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
    setLinkUp: (name) => native.setLinkUp(name),
    deleteLink: (name) => native.deleteLink(name),
    linkNames: () => native.linkNames(),
    addresses: () => native.addresses(),
    routeTo: (address) => native.routeTo(address),
  };
}
