/**
 * `/networks`: the swarm's and the engine's in one list. Overlay networks belong to the swarm, all
 * other drivers to the engine; requests about the engine's own pass through.
 */
import { isIP } from 'node:net';
import type { Control } from '../../manager/control/types.js';
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { isPredefined, networkResourceFields, networkSpecFromJson } from '../convert/network.js';
import { Filters } from '../filters.js';
import { engineError } from '../engine.js';
import { ApiError, badRequest, controlError, notFound } from '../http/api-error.js';
import { GoStruct } from '../http/go-struct.js';
import type { JsonOut } from '../http/json-text.js';
import { type ApiRequest, DONE, empty, json, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import { findMatches } from '../lookup.js';
import { noManager } from '../swarm-errors.js';
import { control, controlIfManager, networkLookup, type RouteContext } from './context.js';
import {
  type EngineNetwork,
  findEngineNetwork,
  listEngineNetworks,
  listTwins,
  twinAsSwarmNetwork,
} from './engine-networks.js';

const FILTER_KEYS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];

/** Networks of every swarm, twins of the engine's own of that name. */
const SWARM_PREDEFINED = new Set(['bridge', 'host']);
/** Other names that the engine keeps for itself. */
const ENGINE_PREDEFINED = new Set(['none', 'default']);

/** The routes. */
export function networkRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/networks', handler: (request) => list(context, request) },
    {
      method: 'POST',
      pattern: '/networks/create',
      handler: (request) => createNetwork(context, request),
    },
    { method: 'GET', pattern: '/networks/:id', handler: (request) => inspect(context, request) },
    { method: 'DELETE', pattern: '/networks/:id', handler: (request) => remove(context, request) },
    {
      method: 'POST',
      pattern: '/networks/:id/connect',
      handler: (request) => connect(context, request),
    },
    {
      method: 'POST',
      pattern: '/networks/:id/disconnect',
      handler: (request) => disconnect(context, request),
    },
  ];
}

async function list(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const text = request.query.get('filters') ?? '';
  const filters = Filters.parse(text);
  filters.checkKeys(FILTER_KEYS);
  const manager = controlIfManager(context);
  const swarm = manager?.listNetworks().filter((network) => !isPredefined(network)) ?? [];
  const rows: JsonOut[] = swarm
    .filter((network) => matches(network, filters))
    .map((network) => networkResourceFields(network));
  for (const network of await listEngineNetworks(context, text)) {
    if (network.swarmId === '') rows.push(network.fields);
  }
  if (manager === undefined) {
    for (const twin of await listTwins(context)) {
      if (twinMatches(twin, filters)) rows.push(twinAsSwarmNetwork(twin));
    }
  }
  return json(rows);
}

interface Filterable {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Docker's rules; a swarm network is custom and, in a list, always dangling, even in use. */
function passes(network: Filterable, filters: Filters): boolean {
  const dangling = filters.get('dangling');
  for (const value of dangling) {
    if (!['1', 'true', '0', 'false'].includes(value)) {
      throw badRequest(
        'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")',
      );
    }
  }
  for (const type of filters.get('type')) {
    if (type !== 'custom' && type !== 'builtin') {
      throw new ApiError(500, `invalid filter: 'type'='${type}'`);
    }
  }
  return (
    filters.pattern('name', network.name) &&
    filters.pattern('id', network.id) &&
    filters.exact('driver', network.driver) &&
    filters.exact('scope', 'swarm') &&
    filters.exact('type', 'custom') &&
    filters.labels('label', network.labels) &&
    !dangling.some((value) => value === '0' || value === 'false')
  );
}

function matches(network: Network, filters: Filters): boolean {
  const { spec, driverState } = network;
  return passes(
    {
      id: network.id,
      name: spec?.annotations?.name ?? '',
      driver: driverState?.name ?? '',
      labels: spec?.annotations?.labels ?? {},
    },
    filters,
  );
}

function twinMatches(twin: EngineNetwork, filters: Filters): boolean {
  const shown = { id: twin.swarmId, name: twin.name, driver: 'overlay', labels: {} };
  return passes(shown, filters);
}

async function createNetwork(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const raw = await request.body();
  const type = request.header('Content-Type');
  const isJson = (type.split(';')[0] ?? '').trim().toLowerCase() === 'application/json';
  if (!isJson && raw.length > 0) {
    throw badRequest(`Content-Type specified (${type}) must be 'application/json'`);
  }
  const body = GoStruct.root(await request.jsonValue(), 'types.NetworkCreateRequest');
  const isSwarm = isSwarmScoped(body);
  const manager = controlIfManager(context);
  const name = body.string('Name');
  const taken = manager?.listNetworks().some((network) => {
    return network.spec?.annotations?.name === name;
  });
  // Every swarm has these two, whether or not they are stored.
  if (taken || (manager !== undefined && SWARM_PREDEFINED.has(name)))
    throw new ApiError(409, `network with name ${name} already exists`);
  if (!isSwarm) {
    await context.proxy.pass(request.message, request.response, { body: raw });
    return DONE;
  }
  if (manager === undefined) throw creationRefused(context, body.string('Driver'));
  checkLocally(body, name);
  const local = await listEngineNetworks(context);
  const network = await manager.createNetwork(networkSpecFromJson(body));
  const sameName = local.some((other) => other.name === name && other.swarmId === '');
  const warning = sameName ? `network with name ${name} already exists` : '';
  return json({ Id: network.id, Warning: warning }, 201);
}

/** What the engine itself checks before it asks the manager; its errors here are 500 and 403. */
function checkLocally(body: GoStruct, name: string): void {
  if (ENGINE_PREDEFINED.has(name)) {
    throw new ApiError(403, `operation is not permitted on predefined ${name} network `);
  }
  if (name.trim() === '') throw new ApiError(500, `invalid name: ${name}`);
  if (body.string('Scope') === 'local') {
    throw new ApiError(403, 'cannot downgrade network scope for overlay networks');
  }
  const ipam = body.nested('IPAM', 'network.IPAM');
  for (const config of ipam.structs('Config', 'network.IPAMConfig')) {
    const subnet = config.string('Subnet');
    if (isCidr(subnet)) continue;
    throw new ApiError(500, `Invalid subnet ${subnet} : invalid CIDR address: ${subnet}`);
  }
}

function isCidr(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/');
  if (rest.length > 0 || !/^[0-9]{1,3}$/.test(bits)) return false;
  const family = isIP(address);
  return family !== 0 && Number(bits) <= (family === 4 ? 32 : 128);
}

/** Overlay networks and whatever asks for swarm scope go to the swarm. */
function isSwarmScoped(body: GoStruct): boolean {
  return body.string('Driver') === 'overlay' || body.string('Scope') === 'swarm';
}

function creationRefused(context: RouteContext, driver: string): Error {
  const { state } = context.membership.status();
  if (driver !== 'overlay' && state === 'inactive')
    return new ApiError(403, 'cannot create a swarm scoped network when swarm is not active');
  // The engine answers 500 here, not the 503 of other routes.
  if (state === 'inactive') return new ApiError(500, noManager(state, false).message);
  if (state !== 'active') return noManager(state, false);
  return new ApiError(
    403,
    'Cannot create a multi-host network from a worker node. Please create the network from a manager node.',
  );
}

/**
 * The swarm network meant by `input`; the engine's own networks come first where an id or name of
 * theirs is meant exactly.
 */
async function resolve(
  context: RouteContext,
  manager: Control | undefined,
  input: string,
  scope = '',
): Promise<
  | { readonly kind: 'swarm'; readonly network: Network; readonly local: EngineNetwork | undefined }
  | { readonly kind: 'twin'; readonly local: EngineNetwork }
  | { readonly kind: 'engine' }
> {
  const found = manager === undefined ? [] : findMatches(networkLookup(manager), input);
  const visible = scope === 'swarm' ? found : found.filter((network) => !isPredefined(network));
  const [network, ...others] = scope === 'local' ? [] : visible;
  if (network === undefined) {
    const local = await findEngineNetwork(context, input).catch(() => undefined);
    if (local === undefined || local.swarmId === '') {
      return (await twinById(context, manager, input)) ?? { kind: 'engine' };
    }
    if (manager === undefined) return { kind: 'twin', local };
    // A twin by the engine's id: the network it stands for, if the swarm still has it.
    const [behind] = findMatches(networkLookup(manager), local.swarmId);
    return behind === undefined
      ? { kind: 'twin', local }
      : { kind: 'swarm', network: behind, local };
  }
  const isExact = network.id === input || network.spec?.annotations?.name === input;
  if (others.length > 0) {
    const by = isExact ? 'name' : 'ID prefix';
    throw badRequest(
      `network ${input} is ambiguous (${others.length + 1} matches found based on ${by})`,
    );
  }
  if (!isExact && scope === '') {
    const local = await findEngineNetwork(context, input);
    if (local?.swarmId === '') return { kind: 'engine' };
  }
  return { kind: 'swarm', network, local: undefined };
}

/** On nodes that do not know the swarm's networks, a twin by (a prefix of) the swarm's id. */
async function twinById(
  context: RouteContext,
  manager: Control | undefined,
  input: string,
): Promise<{ readonly kind: 'twin'; readonly local: EngineNetwork } | undefined> {
  if (manager !== undefined || context.membership.status().state !== 'active') return undefined;
  const twins = (await listTwins(context)).filter(({ swarmId }) => swarmId.startsWith(input));
  const [twin] = twins;
  if (twin === undefined || twins.length > 1) return undefined;
  const local = await findEngineNetwork(context, twin.id);
  return local === undefined ? undefined : { kind: 'twin', local };
}

async function inspect(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const scope = request.query.get('scope') ?? '';
  request.strictBool('verbose', true);
  const input = request.param('id');
  const target = await resolve(context, controlIfManager(context), input, scope);
  switch (target.kind) {
    case 'engine':
      if (scope === 'swarm') throw notFound(`network ${input} not found`);
      await context.proxy.pass(request.message, request.response);
      return DONE;
    case 'twin':
      return json(twinAsSwarmNetwork(target.local));
    case 'swarm': {
      const containers = await containersOn(context, target.network);
      return json(networkResourceFields(target.network, containers));
    }
  }
}

/** Containers of this node on a swarm network, null when it has no twin here. */
async function containersOn(context: RouteContext, network: Network): Promise<JsonOut> {
  const twin = await twinOf(context, network.id);
  if (twin === undefined) return null;
  const details = await findEngineNetwork(context, twin.id);
  return details?.fields.get('Containers') ?? null;
}

async function twinOf(
  context: RouteContext,
  networkId: string,
): Promise<EngineNetwork | undefined> {
  return (await listTwins(context)).find(({ swarmId }) => swarmId === networkId);
}

async function remove(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const manager = controlIfManager(context);
  const target = await resolve(context, manager, request.param('id'));
  switch (target.kind) {
    case 'engine':
      await context.proxy.pass(request.message, request.response);
      return DONE;
    case 'twin':
      // Only managers may remove what the swarm owns; on others this throws Docker's text.
      control(context);
      throw notFound(`network ${request.param('id')} not found`);
    case 'swarm':
      await control(context).removeNetwork(target.network.id);
      return empty(204);
  }
}

async function connect(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const target = await resolve(context, controlIfManager(context), request.param('id'));
  switch (target.kind) {
    case 'engine': {
      const network = await findOnWorker(context, request.param('id'));
      const engineId = network && (await ensureAttachable(context, network));
      return passToNetwork(context, request, engineId, 'connect');
    }
    case 'twin':
      return passToNetwork(context, request, target.local.id, 'connect');
    case 'swarm': {
      const body = GoStruct.root(await request.jsonValue(), 'types.NetworkConnect');
      // The engine looks for the container before it looks at the network.
      const container = encodeURIComponent(body.string('Container'));
      const found = await context.engine.request('GET', `/containers/${container}/json`);
      if (found.status === 404) throw engineError(found);
      const engineId = await ensureAttachable(context, target.network);
      return passToNetwork(context, request, engineId, 'connect', await request.body());
    }
  }
}

async function disconnect(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const target = await resolve(context, controlIfManager(context), request.param('id'));
  const engineId = await (async () => {
    switch (target.kind) {
      case 'engine':
        return undefined;
      case 'twin':
        return target.local.id;
      case 'swarm':
        return (await twinOf(context, target.network.id))?.id;
    }
  })();
  return passToNetwork(context, request, engineId, 'disconnect');
}

/** Passes a request on, naming the network by the engine's id where it is a twin. */
async function passToNetwork(
  context: RouteContext,
  request: ApiRequest,
  engineId: string | undefined,
  action: string,
  body?: Buffer,
): Promise<Reply> {
  const prefix = request.version === '' ? '' : `/v${request.version}`;
  const path = engineId && `${prefix}/networks/${engineId}/${action}`;
  const options = {
    ...(path === undefined ? {} : { path }),
    ...(body === undefined ? {} : { body }),
  };
  await context.proxy.pass(request.message, request.response, options);
  return DONE;
}

/**
 * A swarm network that the engine does not know yet, on a node that is no manager. None if the
 * cluster has none of that name; the engine then says so in its own words.
 * @throws ApiError 403 for a network that is not attachable
 */
export async function findOnWorker(
  context: RouteContext,
  nameOrId: string,
): Promise<Network | undefined> {
  const { membership } = context;
  const { state, controlAvailable } = membership.status();
  if (state !== 'active' || controlAvailable) return undefined;
  if ((await findEngineNetwork(context, nameOrId)) !== undefined) return undefined;
  try {
    return await membership.findAttachable?.(nameOrId);
  } catch (thrown) {
    const error = controlError(thrown);
    if (error.status === 404) return undefined;
    throw new ApiError(error.status, `Could not attach to network ${nameOrId}: ${error.message}`);
  }
}

/** Makes a swarm network exist on the engine for a plain container. @throws ApiError 403 */
export async function ensureAttachable(context: RouteContext, network: Network): Promise<string> {
  const name = network.spec?.annotations?.name ?? network.id;
  if (!network.spec?.attachable) {
    throw new ApiError(
      403,
      `Could not attach to network ${name}: rpc error: code = PermissionDenied desc = ` +
        `network ${name} not manually attachable`,
    );
  }
  return context.membership.network.ensureAttachable(network);
}
