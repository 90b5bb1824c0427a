/**
 * Which nodes should answer clients of this one.
 */
import { addressKey, type DesiredDatapath } from '../desired.js';

/** Tunnel addresses of the nodes that run tasks of published services that return directly. */
export function directTunnels(
  desired: Pick<DesiredDatapath, 'services' | 'backends'>,
): ReadonlySet<string> {
  const direct = desired.services.filter((row) => row.direct === true);
  const wanted = new Set(direct.flatMap((row) => row.backends.map(addressKey)));
  const tunnels = new Set<string>();
  for (const backend of desired.backends) {
    const { tunnelAddress } = backend;
    if (tunnelAddress !== undefined && wanted.has(addressKey(backend))) tunnels.add(tunnelAddress);
  }
  return tunnels;
}
