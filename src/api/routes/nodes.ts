/** `/nodes` and below. */
import { NodeSpec_Membership } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { NodeRole } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { enumText, enumValue } from '../convert/common.js';
import { nodeFields, nodeSpecFromJson } from '../convert/node.js';
import { Filters } from '../filters.js';
import { ApiError } from '../http/api-error.js';
import { type ApiRequest, empty, json, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import { control, findNode, nodeName, type RouteContext } from './context.js';

const FILTER_KEYS = ['name', 'id', 'label', 'node.label', 'role', 'membership'];

/** The routes. */
export function nodeRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/nodes', handler: (request) => list(context, request) },
    { method: 'GET', pattern: '/nodes/:id', handler: (request) => inspect(context, request) },
    { method: 'DELETE', pattern: '/nodes/:id', handler: (request) => remove(context, request) },
    {
      method: 'POST',
      pattern: '/nodes/:id/update',
      handler: (request) => update(context, request),
    },
  ];
}

function list(context: RouteContext, request: ApiRequest): Reply {
  const filters = Filters.parse(request.query.get('filters'));
  const manager = control(context);
  filters.checkKeys(FILTER_KEYS);
  checkEnum(filters, 'role', NodeRole);
  checkEnum(filters, 'membership', NodeSpec_Membership);
  const nodes = manager.listNodes().filter((node) => {
    const { spec, description } = node;
    return (
      filters.prefix('name', nodeName(node)) &&
      filters.prefix('id', node.id) &&
      filters.labels('label', description?.engine?.labels ?? {}) &&
      filters.labels('node.label', spec?.annotations?.labels ?? {}) &&
      matchesEnum(filters, 'role', enumText(NodeRole, node.role)) &&
      matchesEnum(filters, 'membership', enumText(NodeSpec_Membership, spec?.membership ?? 0))
    );
  });
  return json(nodes.map(nodeFields));
}

/** @throws ApiError 500 (as the engine's plain error) for a word that is no value of the enum */
function checkEnum(
  filters: Filters,
  key: string,
  names: Readonly<Record<string, string | number>>,
): void {
  for (const value of filters.get(key)) {
    if (value !== '' && enumValue(names, value) === undefined) {
      throw new ApiError(500, `Invalid ${key} filter: '${value}'`);
    }
  }
}

function matchesEnum(filters: Filters, key: string, text: string): boolean {
  const wanted = filters.get(key).filter((value) => value !== '');
  return wanted.length === 0 || wanted.some((value) => value.toLowerCase() === text);
}

function inspect(context: RouteContext, request: ApiRequest): Reply {
  return json(nodeFields(findNode(control(context), request.param('id'))));
}

async function remove(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const manager = control(context);
  const node = findNode(manager, request.param('id'));
  await manager.removeNode(node.id, { force: request.flag('force') });
  return empty();
}

async function update(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const body = await request.struct('swarm.NodeSpec');
  const version = request.objectVersion('node', true);
  const manager = control(context);
  const spec = nodeSpecFromJson(body);
  const node = findNode(manager, request.param('id'));
  await manager.updateNode(node.id, version, spec);
  return empty();
}
