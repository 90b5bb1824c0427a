/**
 * Reading the engine's plugin requests (libnetwork's remote driver protocol): JSON objects whose
 * fields are checked one by one, because anything on the host may open the socket.
 */
import { SkepError } from '../../model/errors.js';

/** A decoded request body. */
export type PluginRequest = Readonly<Record<string, unknown>>;

/** What a handler answers; becomes the JSON body. */
export type PluginReply = Readonly<Record<string, unknown>>;

/** Answers one method. A thrown error's message becomes the protocol's `Err`. */
export type PluginHandler = (request: PluginRequest) => PluginReply | Promise<PluginReply>;

const TEXT_LENGTH_MAX = 4096;

/** A text field; empty when absent. @throws SkepError `invalid_argument` */
export function text(request: PluginRequest, field: string): string {
  const value = request[field] ?? '';
  if (typeof value !== 'string' || value.length > TEXT_LENGTH_MAX) {
    throw new SkepError('invalid_argument', `${field} is not a text`);
  }
  return value;
}

/** A text field that must be there. @throws SkepError `invalid_argument` */
export function requiredText(request: PluginRequest, field: string): string {
  const value = text(request, field);
  if (value === '') throw new SkepError('invalid_argument', `${field} is missing`);
  return value;
}

/** A nested object; empty when absent or null. @throws SkepError `invalid_argument` */
export function object(request: PluginRequest, field: string): PluginRequest {
  const value = request[field] ?? {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new SkepError('invalid_argument', `${field} is not an object`);
  }
  return value as PluginRequest;
}

/** A true/false field; false when absent. @throws SkepError `invalid_argument` */
export function flag(request: PluginRequest, field: string): boolean {
  const value = request[field] ?? false;
  if (typeof value !== 'boolean') {
    throw new SkepError('invalid_argument', `${field} is not true or false`);
  }
  return value;
}
