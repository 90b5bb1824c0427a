/**
 * Published ports of a task against those of its service. On nodes that run skepd they are changed
 * where the task runs; a stock engine ignores such a change, there the task is replaced.
 */
import { create, equals } from '@bufbuild/protobuf';
import { isMeasured } from '../../model/autoscale.js';
import { runsSkepd } from '../../model/agent-kind.js';
import {
  EndpointSchema,
  type Node,
  type Service,
  type Task,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type EndpointSpec,
  EndpointSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type Annotations,
  type PortConfig,
  PortConfig_PublishMode as PublishMode,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { withContainerSettings } from '../../model/container-settings.js';
import { balancePolicy } from '../../model/balance-policy.js';
import { readiness, readinessText } from '../../model/readiness.js';
import { returnPath } from '../../model/return-path.js';
import { publishRules, samePublishRules, scopesOverlap } from '../../model/publish-rules.js';
import { isOnNode, isOver } from '../../model/task-state.js';

/** Tasks on a node; called only when host-mode ports have to be compared. */
export type TasksOnNode = () => readonly Task[];

/** Host-mode ports of a task that name a port of the host. */
export function hostPorts(task: Task): readonly PortConfig[] {
  return (task.endpoint?.ports ?? []).filter(isNumberedHostPort);
}

/** Whether the task has the endpoint its service's spec asks for. */
export function hasWantedEndpoint(service: Service, task: Task): boolean {
  if (task.endpoint === undefined) return true;
  return equals(EndpointSpecSchema, specOf(service.spec?.endpoint), specOf(task.endpoint.spec));
}

/**
 * Whether the ports of `task` can be brought to those of its service on `node`, without a new task.
 * Not so on stock engines, before the task is on its node, when more than ports differs, for a
 * first port (the task lacks the interface that ports are answered on), and while a task of another
 * service has one of the ports in host mode there. Tasks of one service share a host-mode port.
 */
export function canFollowPorts(
  service: Service,
  task: Task,
  node: Node | undefined,
  onNode: TasksOnNode,
): boolean {
  if (!runsSkepd(node) || !isOnNode(task)) return false;
  const wanted = specOf(service.spec?.endpoint);
  const actual = specOf(task.endpoint?.spec);
  if (wanted.mode !== actual.mode) return false;
  if (wanted.ports.length > 0 && !isOnIngress(task)) return false;
  return !hostPortIsTaken(service, wanted.ports, onNode);
}

/**
 * The task with the endpoint and publishing rules its service has now; undefined if it has them.
 * `follows` says whether its ports may change where it runs. The rules are the service's, not a
 * version's: an allow-list acts at once, also on tasks that wait to be replaced.
 */
export function withServiceEndpoint(
  service: Service,
  task: Task,
  follows: boolean,
): Task | undefined {
  const annotations = service.spec?.annotations;
  const sameRules =
    samePublishRules(task.serviceAnnotations?.labels, annotations?.labels) &&
    balancePolicy(task.serviceAnnotations?.labels) === balancePolicy(annotations?.labels) &&
    returnPath(task.serviceAnnotations?.labels) === returnPath(annotations?.labels) &&
    readinessText(readiness(task.serviceAnnotations?.labels)) ===
      readinessText(readiness(annotations?.labels)) &&
    isMeasured(task.serviceAnnotations?.labels) === isMeasured(annotations?.labels);
  const same = sameEndpoint(service, task);
  if (sameRules && (same || !follows)) return undefined;
  const changed = { ...task };
  if (!sameRules) changed.serviceAnnotations = annotations && withSettingsOf(task, annotations);
  if (!same && follows) {
    changed.endpoint = service.endpoint ?? create(EndpointSchema);
    changed.specVersion = service.specVersion;
  }
  return changed;
}

/** The service's annotations with the settings that the task's container was made with. */
function withSettingsOf(task: Task, annotations: Annotations): Annotations {
  const labels = withContainerSettings(annotations.labels, task.serviceAnnotations?.labels);
  return { ...annotations, labels };
}

/** Whether tasks of the service may only run where skepd enforces its publishing rules. */
export function needsSkepd(labels: Readonly<Record<string, string>> | undefined): boolean {
  return publishRules(labels).size > 0;
}

function sameEndpoint(service: Service, task: Task): boolean {
  const empty = create(EndpointSchema);
  return equals(EndpointSchema, service.endpoint ?? empty, task.endpoint ?? empty);
}

function specOf(spec: EndpointSpec | undefined): EndpointSpec {
  return spec ?? create(EndpointSpecSchema);
}

function isOnIngress(task: Task): boolean {
  return task.networks.some(({ network }) => network?.spec?.ingress === true);
}

function hostPortIsTaken(
  service: Service,
  ports: readonly PortConfig[],
  onNode: TasksOnNode,
): boolean {
  const wanted = ports.filter(isNumberedHostPort);
  if (wanted.length === 0) return false;
  const rules = publishRules(service.spec?.annotations?.labels);
  return onNode().some((other) => {
    if (other.serviceId === service.id || isOver(other)) return false;
    const otherRules = publishRules(other.serviceAnnotations?.labels);
    return hostPorts(other).some((held) =>
      wanted.some(
        ({ protocol, publishedPort }) =>
          protocol === held.protocol &&
          publishedPort === held.publishedPort &&
          scopesOverlap(rules.get(publishedPort)?.scope, otherRules.get(publishedPort)?.scope),
      ),
    );
  });
}

function isNumberedHostPort(port: PortConfig): boolean {
  return port.publishMode === PublishMode.HOST && port.publishedPort !== 0;
}
