/**
 * A cluster's root certificate and identities under it, made by the product's own functions.
 */
import { newCertificateRequest } from '../../../src/rpc/identity/keys.js';
import {
  createRootCa,
  issueNodeCertificate,
  type RootCa,
} from '../../../src/rpc/identity/root-ca.js';
import type { IdentitySource, TlsIdentity } from '../../../src/rpc/types.js';
import type { Environment } from '../../../src/model/environment.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';

const HOUR_MS = 3_600_000;

/** One certificate authority. */
export class TestCluster {
  readonly root: RootCa;
  readonly id: string;
  private readonly environment: Environment;

  private constructor(root: RootCa, id: string, environment: Environment) {
    this.root = root;
    this.id = id;
    this.environment = environment;
  }

  static async create(
    id = 'clusteridclusteridcluster',
    environment: Environment = systemEnvironment,
  ): Promise<TestCluster> {
    return new TestCluster(await createRootCa(environment), id, environment);
  }

  /** The root alone, to go on elsewhere. */
  static from(root: RootCa, id: string): TestCluster {
    return new TestCluster(root, id, systemEnvironment);
  }

  /** A node's certificate and key. */
  async identity(nodeId: string, lifetimeMs = 24 * HOUR_MS): Promise<TlsIdentity> {
    const { csrPem, privateKeyPem } = await newCertificateRequest();
    const certificatePem = await issueNodeCertificate(
      this.root,
      { csrPem, nodeId, role: 'manager', clusterId: this.id, lifetimeMs },
      this.environment,
    );
    return { rootCaPem: this.root.certificatePem, certificatePem, privateKeyPem };
  }
}

/** An identity that never changes. */
export function fixedIdentity(identity: TlsIdentity): IdentitySource {
  return { current: () => identity, subscribe: () => () => undefined };
}
