/**
 * External certificate authorities: servers that speak cfssl's `sign` over mutual TLS, and hold the
 * root's key in place of the cluster (SwarmKit ca/external.go). What they answer is checked like
 * anything that comes from outside: the certificate must be for the request, say what was asked for,
 * and lead to the root.
 */
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:tls';
import { SkepError } from '../../model/errors.js';
import {
  type ExternalCA,
  ExternalCA_CAProtocol,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { caRequest } from '../../rpc/identity/ca-request.js';
import { keyMatchesRequest } from '../../rpc/identity/keys.js';
import {
  isSignedBy,
  type NodeCertificateTemplate,
  parseBundle,
  readNodeCertificate,
  ROOT_CA_NAME,
  type RootCa,
} from '../../rpc/identity/root-ca.js';
import { MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { TlsIdentity } from '../../rpc/types.js';
import { EXTERNAL_CA_ANSWER_BYTES_MAX, EXTERNAL_CA_TIMEOUT_MS } from './constants.js';

/** Profile that cfssl servers must have for certificates of authorities (SwarmKit). */
const CA_PROFILE = 'CA';
/** basicConstraints with CA true, which cfssl takes from the request's extensions only. */
const CA_EXTENSION = { id: '2.5.29.19', critical: true, value: '30030101ff' };

/** Authorities outside the cluster. */
export interface ExternalAuthority {
  /** Whether a server answers at one of `urls` with a certificate of the root. */
  isReachable(urls: readonly string[], rootPem: string): Promise<boolean>;
  /** A node certificate that leads to the root, without chain. @throws SkepError unavailable */
  sign(
    urls: readonly string[],
    rootPem: string,
    template: Omit<NodeCertificateTemplate, 'lifetimeMs'>,
  ): Promise<string>;
  /** A certificate of the new root's name and key that leads to the old root. @throws SkepError */
  crossSign(urls: readonly string[], oldRootPem: string, next: RootCa): Promise<string>;
}

/** The cfssl servers for the root `rootPem`; those without a root of their own are for `present`. */
export function externalUrls(
  all: readonly ExternalCA[],
  rootPem: string,
  present: string,
): readonly string[] {
  return all
    .filter(({ protocol }) => protocol === ExternalCA_CAProtocol.CFSSL)
    .filter(({ caCert }) => (text(caCert).trim() || present.trim()) === rootPem.trim())
    .map(({ url }) => url);
}

/** Where nothing outside can be asked: no authority is reachable. */
export const NO_EXTERNAL_AUTHORITY: ExternalAuthority = {
  isReachable: () => Promise.resolve(false),
  sign: () => Promise.reject(refused('none can be asked from here')),
  crossSign: () => Promise.reject(refused('none can be asked from here')),
};

/** See the file's head. */
export class CfsslAuthority implements ExternalAuthority {
  readonly #identity: () => TlsIdentity;

  constructor(identity: () => TlsIdentity) {
    this.#identity = identity;
  }

  async isReachable(urls: readonly string[], rootPem: string): Promise<boolean> {
    const answers = await Promise.all(urls.map(async (url) => this.#answers(url, rootPem)));
    return answers.includes(true);
  }

  async sign(
    urls: readonly string[],
    rootPem: string,
    template: Omit<NodeCertificateTemplate, 'lifetimeMs'>,
  ): Promise<string> {
    const { csrPem, nodeId, clusterId, role } = template;
    const unit = role === 'manager' ? MANAGER_ROLE : WORKER_ROLE;
    const names = role === 'manager' ? [unit, nodeId, ROOT_CA_NAME] : [unit, nodeId];
    const pem = await this.#ask(urls, rootPem, {
      hosts: names,
      certificate_request: csrPem,
      subject: { CN: nodeId, names: [{ OU: unit, O: clusterId }] },
    });
    if (!isFor(template, pem)) {
      throw refused('it answered with a certificate that says something else');
    }
    return pem;
  }

  async crossSign(urls: readonly string[], oldRootPem: string, next: RootCa): Promise<string> {
    const { csrPem, commonName, names } = await caRequest(next);
    const pem = await this.#ask(urls, oldRootPem, {
      certificate_request: csrPem,
      subject: { CN: commonName, names: [names] },
      profile: CA_PROFILE,
      extensions: [CA_EXTENSION],
    });
    const [certificate] = parseBundle(pem);
    if (certificate?.ca !== true || !keyMatchesRequest(csrPem, pem)) {
      throw refused('it answered with a certificate that is no authority');
    }
    return pem;
  }

  /** Asks one server after the other. @throws SkepError unavailable with the last one's reason */
  async #ask(urls: readonly string[], rootPem: string, body: object): Promise<string> {
    let failure = refused('none is configured');
    for (const url of urls) {
      try {
        const pem = certificateOf(await this.#post(url, rootPem, JSON.stringify(body)));
        if (!isSignedBy(pem, rootPem)) throw refused('its certificate does not lead to the root');
        return pem;
      } catch (error) {
        failure = SkepError.from(error, 'unavailable');
      }
    }
    throw failure;
  }

  #post(url: string, rootPem: string, body: string): Promise<string> {
    const { certificatePem, privateKeyPem, rootCaPem } = this.#identity();
    return new Promise((resolve, reject) => {
      const call = httpsRequest(
        url,
        {
          method: 'POST',
          agent: false,
          // While the root rotates, the server may still show a certificate of either.
          ca: [rootPem, rootCaPem],
          cert: certificatePem,
          key: privateKeyPem,
          minVersion: 'TLSv1.2',
          headers: {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          },
          signal: AbortSignal.timeout(EXTERNAL_CA_TIMEOUT_MS),
        },
        (answer) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          answer.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes > EXTERNAL_CA_ANSWER_BYTES_MAX) call.destroy(refused('it says too much'));
            else chunks.push(chunk);
          });
          answer.on('end', () => resolve(Buffer.concat(chunks).toString()));
          answer.on('error', reject);
        },
      );
      call.on('error', (error) => reject(refused(error.message)));
      call.end(body);
    });
  }

  #answers(url: string, rootPem: string): Promise<boolean> {
    const { certificatePem, privateKeyPem } = this.#identity();
    let target: URL;
    try {
      target = new URL(url);
    } catch {
      return Promise.resolve(false);
    }
    if (target.protocol !== 'https:') return Promise.resolve(false);
    return new Promise((resolve) => {
      const socket = connect({
        host: target.hostname.replace(/^\[(.*)\]$/, '$1'),
        port: Number(target.port || '443'),
        ca: rootPem,
        cert: certificatePem,
        key: privateKeyPem,
        minVersion: 'TLSv1.2',
        timeout: EXTERNAL_CA_TIMEOUT_MS,
      });
      const finish = (isReachable: boolean): void => {
        socket.destroy();
        resolve(isReachable);
      };
      socket.once('secureConnect', () => finish(socket.authorized));
      socket.once('timeout', () => finish(false));
      socket.once('error', () => finish(false));
    });
  }
}

function isFor(template: Omit<NodeCertificateTemplate, 'lifetimeMs'>, pem: string): boolean {
  try {
    const { nodeId, clusterId, role } = readNodeCertificate(pem);
    const isSame =
      nodeId === template.nodeId && clusterId === template.clusterId && role === template.role;
    return isSame && keyMatchesRequest(template.csrPem, pem);
  } catch {
    return false; // No node's certificate.
  }
}

/** The certificate in cfssl's answer. @throws SkepError with the reason it gives */
function certificateOf(answer: string): string {
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch {
    throw refused('its answer is no JSON');
  }
  const { success, result, errors } = value as {
    success?: unknown;
    result?: { certificate?: unknown } | null;
    errors?: readonly { message?: unknown }[] | null;
  };
  const pem = result?.certificate;
  if (success === true && typeof pem === 'string') {
    const [certificate] = parseBundle(pem);
    if (certificate !== undefined) return `${certificate.toString().trim()}\n`;
  }
  const [first] = errors ?? [];
  throw refused(typeof first?.message === 'string' ? first.message : 'it did not sign');
}

function refused(why: string): SkepError {
  return new SkepError(
    'unavailable',
    `unable to have a certificate signed by an external CA: ${why}`,
  );
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}
