/**
 * Calls to a Docker API on a socket, skepd's or an engine's, from the command line.
 */
import http from 'node:http';
import { createInterface } from 'node:readline';
import { SkepError } from '../model/errors.js';

const ANSWER_BYTES_MAX = 4 << 20;
const TIMEOUT_MS = 30_000;

/** One JSON request; the parsed body. @throws SkepError with the API's message */
export async function callApi(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return parse(await callForText(socketPath, method, path, payload));
}

/**
 * One request; the body of the answer as it is, so that numbers of 64 bits survive. @param payload
 * JSON, if there is any @throws SkepError with the API's message
 */
export async function callForText(
  socketPath: string,
  method: string,
  path: string,
  payload?: string,
  bytesMax = ANSWER_BYTES_MAX,
): Promise<string> {
  const { status, text } = await request(socketPath, method, path, payload, bytesMax);
  if (status >= 200 && status < 300) return text;
  throw refusal(method, path, status, parse(text));
}

/**
 * Follows an answer of lines until it ends; for streams there is no time limit.
 * @throws SkepError with the API's message, or if skepd goes away
 */
export async function followApi(
  socketPath: string,
  path: string,
  onLine: (line: string) => void,
): Promise<void> {
  for await (const line of createInterface({ input: await openApi(socketPath, path) }))
    onLine(line);
}

/** The answer to a GET as a stream. @throws SkepError with the API's message */
export async function openApi(socketPath: string, path: string): Promise<http.IncomingMessage> {
  const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const call = http.request({ socketPath, path }, resolve);
    call.on('error', (error) => reject(unreachable(socketPath, error)));
    call.end();
  });
  if (answer.statusCode !== 200) {
    let text = '';
    for await (const chunk of answer) {
      text += String(chunk);
      if (text.length > ANSWER_BYTES_MAX) break;
    }
    throw refusal('GET', path, answer.statusCode ?? 0, parse(text));
  }
  return answer;
}

function unreachable(socketPath: string, error: Error): SkepError {
  return new SkepError('unavailable', `cannot talk to the API at ${socketPath}: ${error.message}`, {
    cause: error,
  });
}

function refusal(method: string, path: string, status: number, value: unknown): SkepError {
  const message =
    typeof value === 'object' && value !== null && 'message' in value
      ? String(value.message)
      : `${method} ${path} was answered with status ${status}`;
  return new SkepError('unknown', message);
}

async function request(
  socketPath: string,
  method: string,
  path: string,
  payload: string | undefined,
  bytesMax: number,
): Promise<{ readonly status: number; readonly text: string }> {
  return await new Promise((resolve, reject) => {
    const headers =
      payload === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
    const call = http.request(
      { socketPath, method, path, headers, timeout: TIMEOUT_MS },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > bytesMax) call.destroy(new Error('the answer is too large'));
          else chunks.push(chunk);
        });
        answer.on('error', reject);
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    call.on('error', (error) => reject(unreachable(socketPath, error)));
    call.end(payload);
  });
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text; // Not JSON: the status decides.
  }
}
