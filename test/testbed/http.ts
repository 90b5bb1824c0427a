/**
 * Plain HTTP requests to a Docker API socket, for tests that look at statuses and bodies.
 */
import http from 'node:http';

/** Status and parsed body (JSON where it is JSON). */
export interface DockerAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: unknown;
  readonly text: string;
}

/** One request; `body` is sent as JSON. */
export async function dockerRequest(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<DockerAnswer> {
  return await new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const request = http.request(
      {
        socketPath,
        method,
        path,
        timeout: 60_000,
        headers:
          payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: parse(text),
            text,
          });
        });
      },
    );
    request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer in 60 s`)));
    request.on('error', reject);
    request.end(payload);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // Not JSON: plain text such as `OK`.
  }
}
