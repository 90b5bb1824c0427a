/**
 * Plain containers: swarm networks they join are made on the engine before the container is created,
 * their binds of the engine's socket get skepd's, and their descriptions show the swarm's network ids.
 */
import type { Network } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { JsonObject, JsonValue } from '../http/go-json.js';
import { writeJson } from '../http/json-text.js';
import { type ApiRequest, DONE, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import { findMatches } from '../lookup.js';
import { controlIfManager, networkLookup, type RouteContext } from './context.js';
import { findEngineNetwork, listTwins } from './engine-networks.js';
import { ensureAttachable, findOnWorker } from './networks.js';
import { entryOf, objectAt, parseBody } from './engine-body.js';
import { bindSkepSocket } from './socket-binds.js';

/** Network modes that name no network. */
const PLAIN_MODES = new Set(['', 'default', 'bridge', 'host', 'none']);

/** The routes. */
export function containerRoutes(context: RouteContext): readonly Route[] {
  return [
    {
      method: 'POST',
      pattern: '/containers/create',
      handler: (request) => createContainer(context, request),
    },
    {
      method: 'GET',
      pattern: '/containers/:id/json',
      handler: (request) => inspect(context, request),
    },
  ];
}

async function createContainer(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const raw = await request.body();
  const body = parseBody(raw);
  if (body === undefined) return pass(context, request, raw);
  const rebound = bindSkepSocket(body, context.sockets);
  const joined = await joinSwarmNetworks(context, body);
  return pass(context, request, rebound || joined ? Buffer.from(writeJson(body)) : raw);
}

/** Makes the swarm networks of a container on the engine; true when the body was changed. */
async function joinSwarmNetworks(context: RouteContext, body: JsonObject): Promise<boolean> {
  if (context.membership.status().state !== 'active') return false;
  const networks = new Map<string, Network>();
  let joinsTwin = false;
  for (const name of networkNames(body)) {
    if (PLAIN_MODES.has(name) || name.startsWith('container:')) continue;
    const network = await findNetwork(context, name);
    if (network !== undefined) networks.set(name, network);
    else joinsTwin ||= Boolean((await findEngineNetwork(context, name))?.swarmId);
  }
  if (networks.size === 0 && !joinsTwin) return false;
  for (const network of new Set(networks.values())) await ensureAttachable(context, network);
  renameNetworks(body, (name) => networks.get(name)?.spec?.annotations?.name ?? name);
  addResolver(body, context.attachableDnsServers);
  return true;
}

/** The swarm network of that name or id; undefined leaves the name to the engine. */
async function findNetwork(context: RouteContext, name: string): Promise<Network | undefined> {
  const manager = controlIfManager(context);
  if (manager === undefined) return findOnWorker(context, name);
  const [network, ...others] = findMatches(networkLookup(manager), name);
  return others.length === 0 ? network : undefined;
}

/** Every network a container is to join at its start. */
function networkNames(body: JsonObject): ReadonlySet<string> {
  const names = new Set<string>();
  renameNetworks(body, (name) => {
    names.add(name);
    return name;
  });
  return names;
}

async function pass(context: RouteContext, request: ApiRequest, body?: Buffer): Promise<Reply> {
  const options = body === undefined ? {} : { body };
  await context.proxy.pass(request.message, request.response, options);
  return DONE;
}

/** Network names of a container become those of the engine, in both places where they stand. */
function renameNetworks(body: JsonObject, rename: (name: string) => string): void {
  const host = objectAt(body, 'HostConfig');
  const mode = host && entryOf(host, 'NetworkMode');
  if (host && mode && typeof mode.value === 'string') host.set(mode.key, rename(mode.value));
  const networking = objectAt(body, 'NetworkingConfig');
  const endpoints = networking && entryOf(networking, 'EndpointsConfig');
  if (!networking || !(endpoints?.value instanceof Map)) return;
  const renamed: JsonObject = new Map();
  for (const [name, value] of endpoints.value) renamed.set(rename(name), value);
  networking.set(endpoints.key, renamed);
}

/** Service names are ours to answer; a user's own choice of resolvers stands. */
function addResolver(body: JsonObject, servers: readonly string[]): void {
  const host = objectAt(body, 'HostConfig');
  if (host === undefined) {
    body.set('HostConfig', new Map<string, JsonValue>([['Dns', [...servers]]]));
    return;
  }
  const given = entryOf(host, 'Dns');
  if (Array.isArray(given?.value) && given.value.length > 0) return;
  host.set(given?.key ?? 'Dns', [...servers]);
}

async function inspect(context: RouteContext, request: ApiRequest): Promise<Reply> {
  if (context.membership.status().state !== 'active') return pass(context, request);
  const answer = await context.engine.request('GET', request.message.url ?? '', {
    signal: request.signal,
  });
  let text = answer.body.toString('utf8');
  if (answer.status === 200) {
    for (const twin of await listTwins(context)) {
      // Ids are 64 random hexadecimal digits; nothing else in the text can equal one.
      text = text.replaceAll(twin.id, twin.swarmId);
    }
  }
  const type = answer.headers['content-type'] ?? 'application/json';
  return { kind: 'raw', status: answer.status, body: Buffer.from(text), type };
}
