/**
 * Published ports that are taken already: by other services (SwarmKit controlapi/service.go), or by
 * what the nodes of the swarm tell each other.
 */
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { NodeSpec, ServiceSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type PortConfig,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isOnNode } from '../../model/task-state.js';
import { publishRules, scopesOverlap } from '../../model/publish-rules.js';
import {
  encryptionPorts,
  GOSSIP_PORT,
  MANAGER_PORT_DEFAULT,
  TUNNEL_PORT_DEFAULT,
} from '../../model/swarm-ports.js';
import { DYNAMIC_PORT_FIRST, DYNAMIC_PORT_LAST } from '../allocator/limits.js';
import type { ReadTransaction } from '../../store/types.js';
import { invalid } from './annotations.js';

/** Tells published ports apart that may be held at once. */
export function portKey(port: Pick<PortConfig, 'publishedPort' | 'protocol'>): string {
  return `${port.publishedPort}/${port.protocol}`;
}

/**
 * Published ports that another service holds, or the nodes themselves. Host-mode ports of several
 * services are fine: the scheduler keeps them on different nodes.
 * @throws SkepError invalid_argument
 */
export function checkPortConflicts(
  transaction: ReadTransaction,
  spec: ServiceSpec,
  serviceId: string,
): void {
  const rules = publishRules(spec.annotations?.labels);
  const wanted = new Map<string, WantedPort[]>();
  for (const port of spec.endpoint?.ports ?? []) {
    if (port.publishedPort === 0) continue;
    const host = port.publishMode === PublishMode.HOST;
    const scope = rules.get(port.publishedPort)?.scope;
    wanted.set(portKey(port), [...(wanted.get(portKey(port)) ?? []), { host, scope }]);
  }
  if (wanted.size === 0) return;
  checkOwnPorts(transaction, wanted);
  for (const service of transaction.find('service', { by: 'all' })) {
    if (service.id === serviceId) continue;
    const held = [...(service.spec?.endpoint?.ports ?? []), ...(service.endpoint?.ports ?? [])];
    const heldRules = publishRules(service.spec?.annotations?.labels);
    for (const port of [...held, ...numbersGiven(transaction, service)]) {
      const scope = heldRules.get(port.publishedPort)?.scope;
      checkPortFree(port, scope, service, wanted.get(portKey(port)) ?? []);
    }
  }
}

/** Numbers that nodes gave to host-mode ports of the service which have none of their own. */
function numbersGiven(transaction: ReadTransaction, service: Service): readonly PortConfig[] {
  const wants = (service.endpoint?.ports ?? []).some(
    ({ publishMode, publishedPort }) => publishMode === PublishMode.HOST && publishedPort === 0,
  );
  if (!wants) return [];
  const tasks = transaction.find('task', { by: 'service', serviceId: service.id });
  return tasks.filter(isOnNode).flatMap(({ status }) => status?.portStatus?.ports ?? []);
}

/** A port of the spec being checked; `scope` is what `skep.publish.<port>.address` says. */
interface WantedPort {
  readonly host: boolean;
  readonly scope: string | undefined;
}

function checkPortFree(
  port: PortConfig,
  scope: string | undefined,
  holder: Service,
  wanted: readonly WantedPort[],
): void {
  if (port.publishedPort === 0) return;
  const byHost = port.publishMode === PublishMode.HOST;
  const conflict = wanted.some(
    (other) => !(byHost && other.host) && scopesOverlap(scope, other.scope),
  );
  if (!conflict) return;
  const name = holder.spec?.annotations?.name ?? '';
  const how = byHost ? 'a host-published port' : 'an ingress port';
  throw invalid(
    `port '${port.publishedPort}' is already in use by service '${name}' (${holder.id}) as ${how}`,
  );
}

/**
 * A service on one of these would take the nodes' own messages out of the hands of every node, and
 * no command could be given any more to undo it.
 */
function checkOwnPorts(transaction: ReadTransaction, wanted: ReadonlyMap<string, unknown>): void {
  const ports: (readonly [number, Protocol, string])[] = [
    [MANAGER_PORT_DEFAULT, Protocol.TCP, 'managers'],
    [GOSSIP_PORT, Protocol.TCP, 'gossip'],
    [GOSSIP_PORT, Protocol.UDP, 'gossip'],
    [tunnelPort(transaction), Protocol.UDP, 'overlay networks'],
  ];
  for (const { spec, managerStatus } of transaction.find('node', { by: 'all' })) {
    for (const port of encryptionPorts(spec?.annotations?.labels))
      ports.push([port, Protocol.UDP, 'encrypted networks']);
    const managerPort = Number(/:(\d+)$/.exec(managerStatus?.addr ?? '')?.[1]);
    if (managerPort > 0) ports.push([managerPort, Protocol.TCP, 'managers']);
  }
  for (const [publishedPort, protocol, use] of ports) {
    if (!wanted.has(portKey({ publishedPort, protocol }))) continue;
    throw invalid(`port '${publishedPort}' is already in use by the swarm itself (${use})`);
  }
}

/**
 * The ports that a node is to use for encrypted networks, where they are taken already.
 * @throws SkepError invalid_argument
 */
export function checkEncryptionPorts(transaction: ReadTransaction, spec: NodeSpec): void {
  const ports = encryptionPorts(spec.annotations?.labels);
  const own = [
    [GOSSIP_PORT, 'gossip'],
    [tunnelPort(transaction), 'overlay networks'],
  ] as const;
  for (const [port, use] of own) {
    if (ports.includes(port))
      throw invalid(`port '${port}' is already in use by the swarm itself (${use})`);
  }
  const dynamic = ports.find((port) => port >= DYNAMIC_PORT_FIRST && port <= DYNAMIC_PORT_LAST);
  if (dynamic !== undefined)
    throw invalid(
      `port '${dynamic}' is among those that services without a number are given (${DYNAMIC_PORT_FIRST} to ${DYNAMIC_PORT_LAST})`,
    );
  for (const service of transaction.find('service', { by: 'all' })) {
    const taken = [...(service.spec?.endpoint?.ports ?? []), ...(service.endpoint?.ports ?? [])];
    for (const { publishedPort, protocol } of taken) {
      if (protocol !== Protocol.UDP || !ports.includes(publishedPort)) continue;
      const name = service.spec?.annotations?.name ?? '';
      throw invalid(
        `port '${publishedPort}' is already in use by service '${name}' (${service.id})`,
      );
    }
  }
}

function tunnelPort(transaction: ReadTransaction): number {
  const [cluster] = transaction.find('cluster', { by: 'all' });
  return cluster?.VXLANUDPPort || TUNNEL_PORT_DEFAULT;
}
