/**
 * A path's state in words: what it is, and what an operator can do.
 */
import { WIREGUARD_OVERHEAD_BYTES } from '../limits.js';
import type { PathPeer, PathState } from './types.js';

/** One or two sentences. */
export function explain(peer: PathPeer, state: PathState): string {
  const there = peer.owner === '' ? peer.tunnelAddress : `${peer.owner} (${peer.tunnelAddress})`;
  switch (state.kind) {
    case 'untested':
      return `the path to ${there} has not been tested yet`;
    case 'stock':
      return `the path to ${there} cannot be tested: a stock Docker Engine is there`;
    case 'good':
      return `packets of up to ${state.packetBytes} bytes pass to ${there}`;
    case 'offload':
      return (
        `an offload on the way to ${there} breaks checksums inside tunnel packets, most likely this ` +
        `host's network card (see ethtool -k); this node makes the checksums of its tunnel packets in software`
      );
    case 'blocked':
      return state.heard
        ? `tunnel packets of this node do not get to ${there}, though its own arrive here: open ` +
            `${portOf(peer)} towards it in the firewalls of both hosts and between them`
        : `no tunnel packets pass between this node and ${there}: open ${portOf(peer)} in the ` +
            `firewalls of both hosts and between them`;
    case 'unanswered':
      return `tunnel packets pass to ${there}, but its skepd does not answer the self-test`;
    case 'size':
      return (
        `packets of more than ${state.largestBytes} bytes do not pass to ${there}, though the underlay ` +
        `interface promises ${state.wantedBytes}: something between loses tunnel packets of more than ` +
        `${state.largestBytes + overheadOf(peer)} bytes; let them pass, or lower the interface's MTU to that`
      );
  }
}

/** What the tunnel adds to a packet on the wire of an IPv4 underlay. */
const TUNNEL_BYTES = 50;

function overheadOf({ encrypted }: PathPeer): number {
  return TUNNEL_BYTES + (encrypted ? WIREGUARD_OVERHEAD_BYTES : 0);
}

function portOf({ encrypted }: PathPeer): string {
  return encrypted
    ? 'the UDP ports of encrypted networks (7947 and 7948, skep.encryption.port)'
    : "the data path's UDP port";
}
