/** `/secrets` and `/configs` and below; the two differ only in what they show. */
import {
  configFields,
  configSpecFromJson,
  secretFields,
  secretSpecFromJson,
} from '../convert/secret.js';
import { Filters } from '../filters.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { type ApiRequest, empty, json, type Reply } from '../http/request.js';
import { type Route, versionLess } from '../http/router.js';
import { control, findConfig, findSecret, type RouteContext } from './context.js';

/** The routes of secrets. */
export function secretRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/secrets', handler: (request) => listSecrets(context, request) },
    {
      method: 'POST',
      pattern: '/secrets/create',
      handler: async (request) => {
        const body = await request.struct('swarm.SecretSpec');
        refuseTemplating(body, request.version, 'secret');
        const secret = await control(context).createSecret(secretSpecFromJson(body));
        return json({ ID: secret.id }, 201);
      },
    },
    {
      method: 'GET',
      pattern: '/secrets/:id',
      handler: (request) => json(secretFields(findSecret(control(context), request.param('id')))),
    },
    {
      method: 'DELETE',
      pattern: '/secrets/:id',
      handler: async (request) => {
        const manager = control(context);
        await manager.removeSecret(findSecret(manager, request.param('id')).id);
        return empty(204);
      },
    },
    {
      method: 'POST',
      pattern: '/secrets/:id/update',
      handler: async (request) => {
        const body = await request.struct('swarm.SecretSpec');
        const version = request.objectVersion('secret', false);
        const manager = control(context);
        const secret = findSecret(manager, request.param('id'));
        await manager.updateSecret(secret.id, version, secretSpecFromJson(body));
        return empty();
      },
    },
  ];
}

/** The routes of configs. */
export function configRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/configs', handler: (request) => listConfigs(context, request) },
    {
      method: 'POST',
      pattern: '/configs/create',
      handler: async (request) => {
        const body = await request.struct('swarm.ConfigSpec');
        refuseTemplating(body, request.version, 'config');
        const config = await control(context).createConfig(configSpecFromJson(body));
        return json({ ID: config.id }, 201);
      },
    },
    {
      method: 'GET',
      pattern: '/configs/:id',
      handler: (request) => json(configFields(findConfig(control(context), request.param('id')))),
    },
    {
      method: 'DELETE',
      pattern: '/configs/:id',
      handler: async (request) => {
        const manager = control(context);
        await manager.removeConfig(findConfig(manager, request.param('id')).id);
        return empty(204);
      },
    },
    {
      method: 'POST',
      pattern: '/configs/:id/update',
      handler: async (request) => {
        const body = await request.struct('swarm.ConfigSpec');
        const version = request.objectVersion('config', false);
        const manager = control(context);
        const config = findConfig(manager, request.param('id'));
        await manager.updateConfig(config.id, version, configSpecFromJson(body));
        return empty();
      },
    },
  ];
}

function refuseTemplating(body: GoStruct, version: string, kind: string): void {
  if (!body.has('Templating') || version === '' || !versionLess(version, '1.37')) return;
  throw badRequest(`${kind} templating is not supported on the specified API version: ${version}`);
}

/** Names and ids are alternatives to each other; labels narrow. */
function listSecrets(context: RouteContext, request: ApiRequest): Reply {
  const filters = Filters.parse(request.query.get('filters'));
  const manager = control(context);
  filters.checkKeys(['names', 'name', 'id', 'label']);
  const secrets = manager
    .listSecrets()
    .filter(({ internal }) => !internal)
    .filter((secret) => matches(filters, secret.id, secret.spec?.annotations));
  return json(secrets.map(secretFields));
}

function listConfigs(context: RouteContext, request: ApiRequest): Reply {
  const filters = Filters.parse(request.query.get('filters'));
  const manager = control(context);
  filters.checkKeys(['name', 'id', 'label']);
  const configs = manager
    .listConfigs()
    .filter((config) => matches(filters, config.id, config.spec?.annotations));
  return json(configs.map(configFields));
}

function matches(
  filters: Filters,
  id: string,
  annotations: { readonly name: string; readonly labels: Record<string, string> } | undefined,
): boolean {
  const name = annotations?.name ?? '';
  if (!filters.labels('label', annotations?.labels ?? {})) return false;
  const kinds = ['names', 'name', 'id'].filter((key) => filters.has(key));
  if (kinds.length === 0) return true;
  return kinds.some((key) => {
    if (key === 'id') return filters.prefix(key, id);
    // SwarmKit's index of names knows no upper case.
    const lower = name.toLowerCase();
    return filters
      .get(key)
      .map((value) => value.toLowerCase())
      .some((value) => (key === 'names' ? value === lower : lower.startsWith(value)));
  });
}
