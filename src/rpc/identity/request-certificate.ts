/**
 * The NodeCA dialogue, for joining and renewing alike: ask for a certificate, wait until the leader
 * has issued it, check that it is for our key and from our root.
 */
import type { Client } from '@connectrpc/connect';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { NodeCA } from '../../model/gen/docker/swarmkit/v1/ca_pb.js';
import { NodeSpec_Availability } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { IssuanceStatus_State } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { fromRpcError } from '../errors.js';
import {
  CERTIFICATE_CALL_TIMEOUT_MS,
  CERTIFICATE_POLL_MAX_MS,
  CERTIFICATE_POLL_MIN_MS,
} from '../limits.js';
import type { TlsIdentity } from '../types.js';
import { keyMatchesCertificate, newCertificateRequest } from './keys.js';
import { isSignedBy } from './root-ca.js';
import { sleep } from './sleep.js';

/** Docker's names of the availabilities. */
export type Availability = 'active' | 'pause' | 'drain';

const AVAILABILITIES: Readonly<Record<Availability, NodeSpec_Availability>> = {
  active: NodeSpec_Availability.ACTIVE,
  pause: NodeSpec_Availability.PAUSE,
  drain: NodeSpec_Availability.DRAIN,
};

/** What to ask for. A renewal has no token: the TLS certificate speaks for the node. */
export interface CertificateOrder {
  readonly rootCaPem: string;
  readonly token?: string;
  readonly availability?: Availability;
}

/**
 * Gets a certificate for a new key.
 * @throws SkepError of the manager (`A valid join token is necessary to join this cluster`), failed
 *   issues as failed_precondition, and whatever ends the connection
 */
export async function requestCertificate(
  nodeCa: Client<typeof NodeCA>,
  order: CertificateOrder,
  env: Environment,
  signal: AbortSignal,
): Promise<TlsIdentity> {
  const request = await newCertificateRequest();
  const csr = Buffer.from(request.csrPem);
  const options = { timeoutMs: CERTIFICATE_CALL_TIMEOUT_MS, signal };
  try {
    const { nodeId } = await nodeCa.issueNodeCertificate(
      {
        csr,
        token: order.token ?? '',
        availability: AVAILABILITIES[order.availability ?? 'active'],
      },
      options,
    );
    for (let pauseMs = CERTIFICATE_POLL_MIN_MS; ; ) {
      const { status, certificate } = await nodeCa.nodeCertificateStatus({ nodeId }, options);
      if (status?.state === IssuanceStatus_State.FAILED) {
        throw new SkepError('failed_precondition', `certificate not issued: ${status.err}`);
      }
      // A certificate of an older request may still be there.
      const isOurs = certificate !== undefined && csr.equals(certificate.csr);
      if (status?.state === IssuanceStatus_State.ISSUED && isOurs) {
        const certificatePem = Buffer.from(certificate.certificate).toString();
        return checked({
          rootCaPem: order.rootCaPem,
          certificatePem,
          privateKeyPem: request.privateKeyPem,
        });
      }
      await sleep(pauseMs, env.clock, signal);
      pauseMs = Math.min(pauseMs * 2, CERTIFICATE_POLL_MAX_MS);
    }
  } catch (error) {
    throw fromRpcError(error);
  }
}

function checked(identity: TlsIdentity): TlsIdentity {
  const { certificatePem, privateKeyPem, rootCaPem } = identity;
  if (!keyMatchesCertificate(privateKeyPem, certificatePem)) {
    throw new SkepError('failed_precondition', 'issued certificate is for another key');
  }
  if (!isSignedBy(certificatePem, rootCaPem)) {
    throw new SkepError('failed_precondition', 'issued certificate is not signed by our root CA');
  }
  return identity;
}
