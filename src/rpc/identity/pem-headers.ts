/**
 * PEM with RFC 1421 headers, as Go writes it. SwarmKit keeps the raft data encryption key in the
 * headers of the node's key file; OpenSSL refuses such files, so the headers come off before use.
 */
import { SkepError } from '../../model/errors.js';

/** Headers of a PEM block. */
export type PemHeaders = Readonly<Record<string, string>>;

const BEGIN = /^-----BEGIN ([A-Z0-9 ]+)-----\n/;
const HEADER = /^([A-Za-z0-9-]+): (.*)$/;

/** Adds `headers`, sorted by name, to a PEM block that has none. */
export function withPemHeaders(pem: string, headers: PemHeaders): string {
  const names = Object.keys(headers).sort();
  if (names.length === 0) return pem;
  const lines = names.map((name) => {
    const line = `${name}: ${headers[name]}`;
    if (!HEADER.test(line)) throw new SkepError('invalid_argument', `bad PEM header ${name}`);
    return line;
  });
  return pem.replace(BEGIN, (begin) => `${begin}${lines.join('\n')}\n\n`);
}

/** Splits a PEM block into its headers and the block without them. @throws SkepError data_loss */
export function splitPemHeaders(text: string): { pem: string; headers: PemHeaders } {
  const pem = text.replaceAll('\r\n', '\n');
  const begin = BEGIN.exec(pem);
  if (begin === null) throw new SkepError('data_loss', 'key file holds no PEM block');
  const body = pem.slice(begin[0].length);
  const blank = body.indexOf('\n\n');
  if (!HEADER.test(body.slice(0, Math.max(0, body.indexOf('\n')))) || blank < 0) {
    return { pem, headers: {} };
  }
  const headers: Record<string, string> = {};
  for (const line of body.slice(0, blank).split('\n')) {
    const [, name, value] = HEADER.exec(line) ?? [];
    if (name === undefined) throw new SkepError('data_loss', 'key file has a malformed header');
    headers[name] = value ?? '';
  }
  return { pem: begin[0] + body.slice(blank + 2), headers };
}
