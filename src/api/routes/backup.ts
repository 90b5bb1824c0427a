/**
 * `/skep/backup`: a manager's state as a tar archive. Not part of Docker's API: `skep backup` reads
 * it.
 */
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SkepError } from '../../model/errors.js';
import { type ApiRequest, DONE, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import type { RouteContext } from './context.js';

/** The routes. */
export function backupRoutes(context: RouteContext): readonly Route[] {
  return [
    { method: 'GET', pattern: '/skep/backup', handler: (request) => backup(context, request) },
  ];
}

async function backup(context: RouteContext, request: ApiRequest): Promise<Reply> {
  const { response, signal } = request;
  const archive = new PassThrough();
  const writing = context.membership.backup(archive, signal);
  // Until the first bytes are there an error still gets a status of its own.
  const first = new Promise<void>((resolve) => {
    archive.once('readable', resolve);
  });
  await Promise.race([writing, first]);
  response.writeHead(200, { 'Content-Type': 'application/x-tar' });
  try {
    await Promise.all([writing, pipeline(archive, response)]);
  } catch (error) {
    // The client sees a broken answer, and no end that looks like one.
    response.destroy();
    const { message } = SkepError.from(error);
    context.logger.warn({ error: message }, 'a backup was not taken whole');
  }
  return DONE;
}
