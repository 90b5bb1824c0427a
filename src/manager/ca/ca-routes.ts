/** The CA and NodeCA services on a router: who may call, and what answers. */
import type { ConnectRouter } from '@connectrpc/connect';
import { SkepError } from '../../model/errors.js';
import { CA, NodeCA } from '../../model/gen/docker/swarmkit/v1/ca_pb.js';
import type { Cluster } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { type AccessRules, authorize } from '../../rpc/authorization.js';
import { callContext, MANAGER_ROLE, WORKER_ROLE } from '../../rpc/peer.js';
import type { Store } from '../../store/types.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { managerUnlockKey } from './unlock-keys.js';

/** Registers both services. The root certificate is served by any manager, the rest by the leader. */
export function registerCa(
  router: ConnectRouter,
  parts: { store: Store; authority: CertificateAuthority; access: AccessRules },
): void {
  const { store, authority, access } = parts;
  const cluster = (): Cluster => {
    const found = store.view((read) => read.get('cluster', access.clusterId));
    if (found === undefined) throw new SkepError('unavailable', 'cluster is not known here yet');
    return found;
  };
  router.service(CA, {
    getRootCACertificate: () => ({
      certificate: cluster().rootCa?.caCert ?? new Uint8Array(),
    }),
    getUnlockKey: (_request, context) => {
      authorize(callContext(context).peer, access, [MANAGER_ROLE]);
      const found = cluster();
      return {
        unlockKey: managerUnlockKey(found) ?? new Uint8Array(),
        ...(found.meta?.version === undefined ? {} : { version: found.meta.version }),
      };
    },
  });
  router.service(NodeCA, {
    issueNodeCertificate: (request, context) => {
      const { peer } = callContext(context);
      // A certificate of another cluster, or a removed node, may still join anew with a token.
      const isMember =
        peer.authorized && peer.clusterId === access.clusterId && !access.isRemoved(peer.nodeId);
      const renewing = isMember ? authorize(peer, access, [WORKER_ROLE, MANAGER_ROLE]) : undefined;
      return authority.issue(request, renewing);
    },
    nodeCertificateStatus: (request, context) => authority.status(request.nodeId, context.signal),
  });
}
