/**
 * Everything of a new cluster that certificates decide: its id, its root, its first manager.
 */
import { create } from '@bufbuild/protobuf';
import type { Environment } from '../../model/environment.js';
import { type Node, NodeSchema } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NodeSpec_Availability,
  NodeSpec_Membership,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  IssuanceStatus_State,
  NodeRole,
  type RootCA,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../../model/ids.js';
import { newCertificateRequest } from '../../rpc/identity/keys.js';
import { createRootCa, issueNodeCertificate } from '../../rpc/identity/root-ca.js';
import { NODE_CERTIFICATE_LIFETIME_MS } from '../../rpc/limits.js';
import type { TlsIdentity } from '../../rpc/types.js';
import { newRootCaMessage } from './cluster-root.js';

/** A cluster that does not exist in any store yet. */
export interface NewCluster {
  readonly clusterId: string;
  /** For `Cluster.rootCa`. */
  readonly rootCa: RootCA;
  /** The first manager's object, to be created in the same transaction as the cluster. */
  readonly node: Node;
  /** The first manager's key and certificate. */
  readonly identity: TlsIdentity;
}

/** Makes the root, join tokens and first manager of `docker swarm init`. */
export async function newCluster(options: {
  env: Environment;
  availability: NodeSpec_Availability;
  /** Default 90 days. */
  certificateLifetimeMs?: number;
}): Promise<NewCluster> {
  const { env } = options;
  const clusterId = newId(env.random);
  const nodeId = newId(env.random);
  const root = await createRootCa(env);
  const request = await newCertificateRequest();
  const certificatePem = await issueNodeCertificate(
    root,
    {
      csrPem: request.csrPem,
      nodeId,
      clusterId,
      role: 'manager',
      lifetimeMs: options.certificateLifetimeMs ?? NODE_CERTIFICATE_LIFETIME_MS,
    },
    env,
  );
  const node = create(NodeSchema, {
    id: nodeId,
    role: NodeRole.MANAGER,
    spec: {
      desiredRole: NodeRole.MANAGER,
      membership: NodeSpec_Membership.ACCEPTED,
      availability: options.availability,
    },
    certificate: {
      role: NodeRole.MANAGER,
      csr: Buffer.from(request.csrPem),
      status: { state: IssuanceStatus_State.ISSUED },
      certificate: Buffer.from(certificatePem),
      cn: nodeId,
    },
  });
  return {
    clusterId,
    rootCa: newRootCaMessage(root, env.random),
    node,
    identity: {
      rootCaPem: root.certificatePem,
      certificatePem,
      privateKeyPem: request.privateKeyPem,
    },
  };
}
