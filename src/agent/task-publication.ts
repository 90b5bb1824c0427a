/**
 * What of a task the network publishes: virtual addresses, ports, and what labels say about them.
 */
import { balancePolicy } from '../model/balance-policy.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { PortConfig } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { publishRules, rulesText } from '../model/publish-rules.js';
import { returnPath } from '../model/return-path.js';
import type { TaskPublication } from '../network/types.js';

/** Of `task` with these ports, which have the numbers that its node gave them. */
export function publicationOf(task: Task, ports: readonly PortConfig[]): TaskPublication {
  return {
    virtualIps: (task.endpoint?.virtualIps ?? []).map((virtual) => ({
      networkId: virtual.networkId,
      address: virtual.addr,
    })),
    ports,
    rules: publishRules(task.serviceAnnotations?.labels),
    policy: balancePolicy(task.serviceAnnotations?.labels),
    returnPath: returnPath(task.serviceAnnotations?.labels),
  };
}

/** As one text, to see whether anything changed. */
export function publicationText(publication: TaskPublication): string {
  const { virtualIps, ports, rules, policy } = publication;
  const lines = [
    ...virtualIps.map(({ networkId, address }) => `${networkId} ${address}`),
    ...ports.map((p) =>
      [p.name, p.protocol, p.targetPort, p.publishedPort, p.publishMode].join(' '),
    ),
    rulesText(rules),
    `${policy} ${publication.returnPath}`,
  ];
  return lines.sort().join('\n');
}
