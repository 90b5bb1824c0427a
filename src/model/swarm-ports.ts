/**
 * Ports on which the nodes of a swarm talk to each other, and which nothing else may take.
 */
import { ENCRYPTION_PORT_LABEL } from './labels/keys.js';
import { numberLabel } from './labels/read.js';

/** TCP port of managers when none is given. */
export const MANAGER_PORT_DEFAULT = 2377;

/** Gossip's port, TCP and UDP (libnetwork's, fixed in every swarm). */
export const GOSSIP_PORT = 7946;

/** UDP port of tunnels unless `--data-path-port` says otherwise (VXLAN, RFC 7348). */
export const TUNNEL_PORT_DEFAULT = 4789;

/** The two UDP ports of a node's encrypted networks, by the labels of the node. */
export function encryptionPorts(
  nodeLabels: Readonly<Record<string, string>> | undefined,
): readonly [number, number] {
  const first = numberLabel(ENCRYPTION_PORT_LABEL, nodeLabels);
  return [first, first + 1];
}
