/**
 * The state of direct return with another node in words: what it is, and why.
 */
import type { DirectRow } from './types.js';

/** One sentence. */
export function explainDirect({
  owner,
  tunnelAddress,
  state,
}: Pick<DirectRow, 'owner' | 'tunnelAddress' | 'state'>): string {
  const there = owner === '' ? tunnelAddress : `${owner} (${tunnelAddress})`;
  switch (state.kind) {
    case 'idle':
      return `no service that returns directly has tasks on ${there}`;
    case 'untested':
      return `it is not known yet whether ${there} can answer clients of this node; replies take the tunnel`;
    case 'proven':
      return `replies from ${there} go straight to clients of this node`;
    case 'lost':
      return (
        `packets that ${there} sends under this node's address do not arrive: something between drops ` +
        `foreign source addresses (port security, a reverse-path filter); replies take the tunnel`
      );
    case 'unable':
      return (
        `${there} cannot answer clients of this node: it has several underlay interfaces, or makes ` +
        `checksums in software; replies take the tunnel`
      );
    case 'silent':
      return `${there} does not answer about direct return; replies take the tunnel`;
  }
}
