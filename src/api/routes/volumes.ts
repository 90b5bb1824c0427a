/**
 * Volumes belong to the engine. Cluster volumes are refused: an engine that does not know them would
 * make a local one instead.
 */
import { ApiError } from '../http/api-error.js';
import { type ApiRequest, DONE, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import type { RouteContext } from './context.js';
import { objectAt, parseBody } from './engine-body.js';

/** The routes. */
export function volumeRoutes(context: RouteContext): readonly Route[] {
  return [
    {
      method: 'POST',
      pattern: '/volumes/create',
      handler: (request) => create(context, request),
    },
  ];
}

async function create(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const raw = await request.body();
  const body = parseBody(raw);
  if (body !== undefined && objectAt(body, 'ClusterVolumeSpec') !== undefined)
    throw new ApiError(501, 'cluster volumes (CSI) are not supported');
  await context.proxy.pass(request.message, request.response, { body: raw });
  return DONE;
}
