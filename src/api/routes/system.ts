/** `/_ping` and `/info`: the engine's answers with this host's place in the swarm added. */
import type { Control } from '../../manager/control/types.js';
import { SkepError } from '../../model/errors.js';
import { clusterInfoFields } from '../convert/cluster.js';
import type { JsonFields } from '../convert/common.js';
import { genericResourceFields } from '../convert/task-spec.js';
import { ApiError } from '../http/api-error.js';
import type { JsonOut } from '../http/json-text.js';
import { type ApiRequest, DONE, json, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import type { SwarmStatus } from '../types.js';
import { controlIfManager, type RouteContext } from './context.js';

const TWO_MANAGERS_WARNING =
  'WARNING: Running Swarm in a two-manager configuration. This configuration provides\n' +
  '         no fault tolerance, and poses a high risk to lose control over the cluster.\n' +
  '         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n' +
  '         Swarm for fault-tolerance.';

/** The routes. */
export function systemRoutes(context: RouteContext): readonly Route[] {
  const ping = (request: ApiRequest) => passPing(context, request);
  return [
    { method: 'GET', pattern: '/_ping', handler: ping },
    { method: 'HEAD', pattern: '/_ping', handler: ping },
    { method: 'GET', pattern: '/info', handler: (request) => info(context, request) },
  ];
}

/** The `Swarm` header, by which newer CLIs decide what to offer. */
function swarmHeader({ state, controlAvailable }: SwarmStatus): string {
  if (state !== 'active') return state;
  return controlAvailable ? 'active/manager' : 'active/worker';
}

async function passPing(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const { response } = request;
  // The engine answers these itself; twice would be once too often.
  for (const name of ['Api-Version', 'Docker-Experimental', 'Ostype', 'Server']) {
    response.removeHeader(name);
  }
  await context.proxy.pass(request.message, response, {
    onHeaders: (headers) => headers.push('Swarm', swarmHeader(context.membership.status())),
  });
  return DONE;
}

async function info(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const answer = await context.engine.get(request.message.url ?? '/info', request.signal);
  if (!(answer instanceof Map)) throw new ApiError(502, 'the Docker Engine gave no information');
  const result = new Map<string, JsonOut>(answer);
  result.set('Swarm', swarmInfo(context));
  const { genericResources } = context;
  if (genericResources.length > 0) {
    result.set('GenericResources', genericResourceFields(genericResources));
  }
  return json(result);
}

/** The `Swarm` section of `/info`. */
function swarmInfo(context: RouteContext): JsonFields {
  const status = context.membership.status();
  const cluster = clusterPart(controlIfManager(context));
  const managers = status.remoteManagers.map(({ nodeId, addr }) => ({
    NodeID: nodeId,
    Addr: addr,
  }));
  return {
    NodeID: status.nodeId,
    NodeAddr: status.nodeAddr,
    LocalNodeState: status.state,
    ControlAvailable: status.controlAvailable,
    Error: cluster.error ?? status.error,
    RemoteManagers: managers.length === 0 ? null : managers,
    ...cluster.fields,
  };
}

/** What only managers know. Trouble with the cluster is told, not thrown: `/info` must answer. */
function clusterPart(manager: Control | undefined): {
  readonly fields: JsonFields;
  readonly error?: string;
} {
  if (manager === undefined) return { fields: {} };
  try {
    const nodes = manager.listNodes();
    const managers = nodes.filter((node) => node.managerStatus !== undefined).length;
    return {
      fields: {
        Nodes: nodes.length === 0 ? undefined : nodes.length,
        Managers: managers === 0 ? undefined : managers,
        Cluster: clusterInfoFields(manager.getCluster()),
        Warnings: managers === 2 ? [TWO_MANAGERS_WARNING] : undefined,
      },
    };
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof SkepError)) throw error;
    return { fields: {}, error: error.message };
  }
}
