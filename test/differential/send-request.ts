/** Requests of scenarios to the API of a swarm, written as `/path body`. */
import http from 'node:http';

const ANSWER_TIMEOUT_MS = 60_000;

/** Sends a request; the part behind the first space is its body. @returns status code and body */
export async function sendRequest(
  socket: string,
  method: string,
  rest: string,
): Promise<{ readonly code: number; readonly body: string }> {
  const space = rest.indexOf(' ');
  const path = (space === -1 ? rest : rest.slice(0, space)).replaceAll(
    /[{}"[\]]/g,
    encodeURIComponent,
  );
  const body = space === -1 ? undefined : rest.slice(space + 1);
  const headers =
    body === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return await new Promise((resolve, reject) => {
    const timeout = ANSWER_TIMEOUT_MS;
    const request = http.request({ socketPath: socket, method, path, headers, timeout });
    request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer`)));
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({ code: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
      });
    });
    request.end(body);
  });
}
