/**
 * Sockets of a name server at an address of the host, over the addon. Two processes may have the same
 * address and port, so that one can follow the other.
 */
import { loadAddon } from './addon.js';

interface Native {
  readonly openSharedSockets: (address: string, port: number) => [number, number];
  readonly turnAway: (udp: number) => void;
}

/** Descriptors of a bound UDP and a listening TCP socket on one port. */
export interface SharedSockets {
  readonly udp: number;
  readonly tcp: number;
}

/** The caller closes both. Port 0: the kernel's choice. @throws Node-like EADDRINUSE, EADDRNOTAVAIL */
export function openSharedSockets(address: string, port: number): SharedSockets {
  const [udp, tcp] = (loadAddon() as unknown as Native).openSharedSockets(address, port);
  return { udp, tcp };
}

/** The UDP socket gets no more questions, others at its address do; it still answers. */
export function turnAway(udp: number): void {
  (loadAddon() as unknown as Native).turnAway(udp);
}
