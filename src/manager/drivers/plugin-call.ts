/** One call of a Docker plugin: a POST of JSON over its socket. */
import http from 'node:http';
import https from 'node:https';
import { SkepError } from '../../model/errors.js';
import type { PluginEndpoint } from './plugin-endpoint.js';

const MIME = 'application/vnd.docker.plugins.v1.2+json';
const TIMEOUT_MS = 5000;
const ANSWER_BYTES_MAX = 1 << 20;

/** @returns the parsed answer. @throws SkepError unavailable, resource_exhausted, invalid_argument */
export async function callPlugin(
  endpoint: PluginEndpoint,
  method: string,
  body: unknown,
): Promise<Readonly<Record<string, unknown>>> {
  const text = await post(endpoint, `/${method}`, JSON.stringify(body));
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    // The text is not quoted: it may hold a secret.
    throw new SkepError('invalid_argument', `${method}: the plugin's answer is not JSON`);
  }
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer))
    throw new SkepError('invalid_argument', `${method}: the plugin's answer is no object`);
  return answer as Readonly<Record<string, unknown>>;
}

async function post(endpoint: PluginEndpoint, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      if (cause instanceof SkepError) reject(cause);
      else reject(new SkepError('unavailable', `${path.slice(1)}: ${cause.message}`, { cause }));
    };
    const request = open(endpoint, path, Buffer.byteLength(body), (answer) => {
      const chunks: Buffer[] = [];
      let size = 0;
      answer.on('data', (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > ANSWER_BYTES_MAX)
          request.destroy(
            new SkepError('resource_exhausted', `${path.slice(1)}: too large an answer`),
          );
      });
      answer.on('error', fail);
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(Buffer.concat(chunks).toString());
        else fail(new Error(`the plugin answered with status ${answer.statusCode}`));
      });
    });
    // For all of it: a plugin that trickles must not hold a node's tasks up.
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), TIMEOUT_MS);
    request.on('close', () => clearTimeout(timer));
    request.on('error', fail);
    request.end(body);
  });
}

function open(
  endpoint: PluginEndpoint,
  path: string,
  length: number,
  onAnswer: (answer: http.IncomingMessage) => void,
): http.ClientRequest {
  const common = {
    method: 'POST',
    path,
    agent: false,
    headers: { accept: MIME, 'content-type': 'application/json', 'content-length': length },
  };
  if (endpoint.kind === 'unix')
    return http.request({ ...common, socketPath: endpoint.socketPath }, onAnswer);
  const { host, port, tls } = endpoint;
  if (tls === undefined) return http.request({ ...common, host, port }, onAnswer);
  const { isChecked, ...pem } = tls;
  return https.request({ ...common, host, port, ...pem, rejectUnauthorized: isChecked }, onAnswer);
}
