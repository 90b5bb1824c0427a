/**
 * Rows of published ports: who answers on a port, on which of this node's addresses, and which
 * clients may. A port published on one address only has a row for each address of this node that is
 * meant, a marker at the port itself that sends the search there, and for backends here a landing,
 * since a packet from another node carries an address this node does not have.
 */
import { commonNetworks, LOOPBACK_SCOPE } from '../model/publish-rules.js';
import type { PortProtocol, ServiceRow } from '../native/datapath-types.js';
import type { HostAddress } from './host-addresses.js';
import { type BalancePolicy } from '../model/balance-policy.js';
import { countOf, cutRuns, joinRows } from './port-ranges.js';
import type { RecordPort } from './records.js';

/** A backend as a target of services. */
export interface Target {
  readonly vni: number;
  readonly address: string;
  readonly active: boolean;
  readonly policy: BalancePolicy;
  /** Replies should go straight to outside clients; absent: through the node they asked. */
  readonly direct?: boolean;
}

/** What the data path knows the host's own sockets by, when they ask 127.0.0.1. */
const LOOPBACK_ADDRESS = '127.0.0.1';

/** Targets of one published port on one address, apart by service and container port. */
interface PortGroup {
  /** Published in host mode on this node: goes before the mesh. */
  readonly host: boolean;
  readonly serviceId: string;
  readonly targetPort: number;
  readonly targets: Target[];
  allow: readonly string[] | undefined;
}

/** Everything that claims one port of one address. */
interface Place {
  readonly protocol: PortProtocol;
  readonly port: number;
  readonly count: number;
  /** Undefined: all addresses. */
  readonly address: string | undefined;
  readonly groups: PortGroup[];
}

/** Who claims a port. */
interface Claim {
  readonly host: boolean;
  readonly serviceId: string;
}

/** A claim to ports of all addresses, kept until all are known: runs may overlap. */
interface WideClaim extends RecordPort {
  readonly claim: Claim;
  readonly target: Target;
}

/** Gathers the claims of endpoints. */
export class PublishedPorts {
  private readonly hostAddresses: readonly HostAddress[];
  private readonly places = new Map<string, Place>();
  private readonly wide: WideClaim[] = [];
  private readonly landings = new Map<string, ServiceRow>();
  /** Ports with rules of addresses, also if this node has none of these. */
  private readonly addressed = new Map<string, RecordPort>();

  constructor(hostAddresses: readonly HostAddress[]) {
    this.hostAddresses = hostAddresses;
  }

  /** `target` answers on `port`; `claim` says for whom. */
  add(port: RecordPort, claim: Claim, target: Target): void {
    if (port.scope === undefined) {
      this.wide.push({ ...port, claim, target });
      return;
    }
    this.addressed.set(portName(port), port);
    for (const address of this.addressesOf(port.scope)) this.join(port, address, claim, target);
  }

  /** `target` is a backend here: packets for it may come from nodes with other addresses. */
  addLanding(port: RecordPort, { vni, address }: Target): void {
    if (port.scope === undefined) return;
    const { protocol, publishedPort, targetPort } = port;
    const key = { kind: 'landing', vni, address, protocol, port: publishedPort } as const;
    this.landings.set(`${vni}/${address} ${portName(port)}`, { key, targetPort, backends: [] });
  }

  /** The rows of all ports; those that a marker leads to come before it. */
  rows(): readonly ServiceRow[] {
    for (const port of cutRuns(this.wide.splice(0), [...this.addressed.values()])) {
      this.join(port, undefined, port.claim, port.target);
    }
    const rows: ServiceRow[] = [...this.landings.values()];
    const ofAll: ServiceRow[] = [];
    const marked = new Set<string>();
    for (const place of this.places.values()) {
      const name = portName({ ...place, publishedPort: place.port });
      const isMarker = place.address === undefined && this.addressed.has(name);
      if (isMarker) marked.add(name);
      if (place.address !== undefined) rows.push(rowOf(place));
      else ofAll.push({ ...rowOf(place), ...(isMarker ? { addressed: true } : {}) });
    }
    for (const [name, { protocol, publishedPort, targetPort }] of this.addressed) {
      if (marked.has(name)) continue;
      const key = { kind: 'published', protocol, port: publishedPort } as const;
      ofAll.push({ key, targetPort, backends: [], addressed: true });
    }
    return [...rows, ...joinRows(ofAll)];
  }

  private join(port: RecordPort, address: string | undefined, claim: Claim, target: Target): void {
    const group = this.groupOf(port, address, claim);
    group.targets.push(target);
    // Announcements of a changed rule arrive one by one: what all of them allow is allowed.
    group.allow = commonNetworks(group.allow, port.allow);
  }

  private addressesOf(scope: string): readonly string[] {
    if (scope === LOOPBACK_SCOPE) return [LOOPBACK_ADDRESS];
    return this.hostAddresses
      .filter(({ address, interfaceName }) => scope === address || scope === interfaceName)
      .map(({ address }) => address);
  }

  private groupOf(
    port: RecordPort,
    address: string | undefined,
    { host, serviceId }: Claim,
  ): PortGroup {
    const { protocol, publishedPort, targetPort } = port;
    const name = `${address ?? ''} ${portName(port)}`;
    const count = countOf(port);
    const fresh = { protocol, port: publishedPort, count, address, groups: [] };
    const place: Place = this.places.get(name) ?? fresh;
    this.places.set(name, place);
    const known = place.groups.find(
      (other) =>
        other.host === host && other.serviceId === serviceId && other.targetPort === targetPort,
    );
    if (known !== undefined) return known;
    const group = { host, serviceId, targetPort, targets: [], allow: undefined };
    place.groups.push(group);
    return group;
  }
}

/** The active ones of `targets`, once each. */
export function activeOf(targets: readonly Target[]): ServiceRow['backends'] {
  const rows = new Map<string, { vni: number; address: string }>();
  for (const { active, vni, address } of targets) {
    if (active) rows.set(`${vni}/${address}`, { vni, address });
  }
  return [...rows.values()];
}

/**
 * The policy of most targets, as a row has it. A change arrives task by task; the rest only makes the
 * choice the same on every node.
 */
export function policyOf(targets: readonly Target[]): Pick<ServiceRow, 'policy'> {
  const votes = new Map<BalancePolicy, number>();
  for (const { policy } of targets) votes.set(policy, (votes.get(policy) ?? 0) + 1);
  const [winner] = [...votes].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return winner === undefined || winner[0] === 'maglev' ? {} : { policy: winner[0] };
}

/** Direct if most targets say so, as a row has it; see {@link policyOf}. */
function directOf(targets: readonly Target[]): Pick<ServiceRow, 'direct'> {
  const direct = targets.filter((target) => target.direct === true).length;
  return 2 * direct > targets.length ? { direct: true } : {};
}

function portName({ protocol, publishedPort }: Pick<RecordPort, 'protocol' | 'publishedPort'>) {
  return `${publishedPort}/${protocol}`;
}

function rowOf({ protocol, port, count, address, groups }: Place): ServiceRow {
  const group = groups.reduce((best, other) => (prevails(other, best) ? other : best));
  const { targetPort, targets, allow } = group;
  return {
    key: { kind: 'published', protocol, port, ...(address === undefined ? {} : { address }) },
    targetPort,
    backends: activeOf(targets),
    ...(allow === undefined ? {} : { allow }),
    ...(count === 1 ? {} : { ports: count }),
    ...policyOf(targets),
    ...directOf(targets),
  };
}

/**
 * While a port changes hands (another container port, another service) two groups claim it: host
 * mode first, then the one with more active targets; the rest only makes the choice the same on
 * every node.
 */
function prevails(group: PortGroup, rival: PortGroup): boolean {
  if (group.host !== rival.host) return group.host;
  const active = activeOf(group.targets).length - activeOf(rival.targets).length;
  if (active !== 0) return active > 0;
  if (group.serviceId !== rival.serviceId) return group.serviceId > rival.serviceId;
  return group.targetPort > rival.targetPort;
}
