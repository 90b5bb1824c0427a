/**
 * How a node joins a cluster, as SwarmKit's: fetch the root bundle over a connection that nothing
 * vouches for, hold it against the token's digest, then ask for a certificate over a connection
 * that this root vouches for. Error texts are the ones that `docker swarm join` shows.
 */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { CA, NodeCA } from '../../model/gen/docker/swarmkit/v1/ca_pb.js';
import type { Logger } from '../../observe/logger.js';
import { ClientSession } from '../client-session.js';
import { fromRpcError, goErrorText } from '../errors.js';
import {
  CERTIFICATE_CALL_TIMEOUT_MS,
  JOIN_ATTEMPTS_MAX,
  JOIN_RETRY_INTERVAL_MS,
  ROOT_CA_BYTES_MAX,
} from '../limits.js';
import { grpcTransport } from '../manager-connection.js';
import type { TlsIdentity } from '../types.js';
import { parseJoinToken } from './join-token.js';
import { type Availability, requestCertificate } from './request-certificate.js';
import { parseBundle, ROOT_CA_NAME, rootCaDigest } from './root-ca.js';
import { sleep } from './sleep.js';

/** What a user gives to `docker swarm join`. */
export interface JoinOptions {
  readonly token: string;
  /** Managers as `host:port`; tried in turn. */
  readonly remoteAddrs: readonly string[];
  readonly availability: Availability;
  readonly env: Environment;
  readonly logger: Logger;
  /** Ends the attempts. */
  readonly signal: AbortSignal;
  /** Pause between attempts; default 2 s. */
  readonly retryIntervalMs?: number;
}

/** Errors that another attempt cannot cure. */
const FINAL_CODES = new Set(['invalid_argument', 'permission_denied', 'canceled', 'unimplemented']);

/** Marks an error whose message is complete, without gRPC's prefix. */
class FinalError extends SkepError {}

/**
 * Joins: resolves with the node's identity; what it became is in its certificate
 * (`readNodeCertificate`). Messages are final, gRPC prefix included where Docker has it.
 * @throws SkepError unknown `invalid join token` | `remote CA does not match fingerprint. Expected: …`;
 *   unavailable | deadline_exceeded when no manager answers; invalid_argument for a wrong token
 */
export async function joinCluster(options: JoinOptions): Promise<TlsIdentity> {
  const { rootDigest } = parseJoinToken(options.token);
  const rootCaPem = await attempt(options, (addr) => downloadRootCa(addr, rootDigest, options));
  return attempt(options, (addr) => obtainCertificate(addr, rootCaPem, options));
}

/**
 * Gets the root bundle of the cluster behind `addr` and checks it against `digest`.
 * @throws SkepError unknown `remote CA does not match fingerprint. Expected: …`
 */
async function downloadRootCa(addr: string, digest: Buffer, options: JoinOptions): Promise<string> {
  const bundle = await withSession(
    addr,
    { rejectUnauthorized: false },
    options,
    async (session) => {
      const client = createClient(CA, grpcTransport(session));
      const callOptions = { timeoutMs: CERTIFICATE_CALL_TIMEOUT_MS, signal: options.signal };
      return (await client.getRootCACertificate({}, callOptions)).certificate;
    },
  );
  if (bundle.length > ROOT_CA_BYTES_MAX || !rootCaDigest(bundle).equals(digest)) {
    throw new FinalError(
      'unknown',
      `remote CA does not match fingerprint. Expected: ${digest.toString('hex')}`,
    );
  }
  const pem = Buffer.from(bundle).toString();
  if (parseBundle(pem).length === 0) {
    throw new FinalError('unknown', 'remote CA holds no certificate');
  }
  return pem;
}

function obtainCertificate(
  addr: string,
  rootCaPem: string,
  options: JoinOptions,
): Promise<TlsIdentity> {
  const { token, availability, env, signal } = options;
  return withSession(addr, { ca: rootCaPem }, options, (session) =>
    requestCertificate(
      createClient(NodeCA, grpcTransport(session)),
      { rootCaPem, token, availability },
      env,
      signal,
    ),
  );
}

/** Runs `action` on a fresh connection to the cluster's CA at `addr`, which is closed afterwards. */
async function withSession<R>(
  addr: string,
  tls: { ca?: string; rejectUnauthorized?: boolean },
  options: JoinOptions,
  action: (session: ClientSession) => Promise<R>,
): Promise<R> {
  const session = new ClientSession({
    addr,
    tls: { ...tls, servername: ROOT_CA_NAME },
    clock: options.env.clock,
  });
  const canceled = new ConnectError('canceled', Code.Canceled);
  const onAbort = (): void => session.destroy(canceled);
  options.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await action(session);
  } finally {
    options.signal.removeEventListener('abort', onAbort);
    session.destroy(canceled);
  }
}

async function attempt<R>(options: JoinOptions, action: (addr: string) => Promise<R>): Promise<R> {
  const { remoteAddrs, env, signal, logger } = options;
  for (let round = 1; ; round++) {
    const addr = remoteAddrs[(round - 1) % remoteAddrs.length];
    if (addr === undefined) {
      throw new SkepError('invalid_argument', 'at least 1 RemoteAddr is required to join');
    }
    try {
      return await action(addr);
    } catch (reason) {
      if (reason instanceof FinalError) throw reason;
      const error = dockerError(fromRpcError(reason));
      logger.warn({ addr, error: error.message, round }, 'joining through a manager failed');
      if (FINAL_CODES.has(error.code) || round === JOIN_ATTEMPTS_MAX) throw error;
      await sleep(options.retryIntervalMs ?? JOIN_RETRY_INTERVAL_MS, env.clock, signal);
    }
  }
}

/** Go's text for a failed call. */
function dockerError(error: SkepError): SkepError {
  const plain =
    error.code === 'deadline_exceeded'
      ? new SkepError(error.code, 'context deadline exceeded', { cause: error })
      : error;
  return new SkepError(plain.code, goErrorText(plain), { cause: error });
}
