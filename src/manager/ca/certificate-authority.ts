/**
 * The leader's certificate authority (SwarmKit ca/server.go): admits nodes by join token, takes
 * renewal requests, and signs whatever is pending in the store, so that a request that was stored
 * before a crash or a change of leader is still answered.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import { durationMs } from '../../model/defaults.js';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type IssueNodeCertificateRequest,
  type IssueNodeCertificateResponse,
  IssueNodeCertificateResponseSchema,
  type NodeCertificateStatusResponse,
  NodeCertificateStatusResponseSchema,
} from '../../model/gen/docker/swarmkit/v1/ca_pb.js';
import {
  type Cluster,
  type Node,
  NodeSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeSpec_Availability,
  NodeSpec_Membership,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type Certificate,
  CertificateSchema,
  IssuanceStatus_State,
  IssuanceStatusSchema,
  NodeRole,
  type RootCA,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../../model/ids.js';
import type { Logger } from '../../observe/logger.js';
import { issueNodeCertificate, type NodeCertificateTemplate } from '../../rpc/identity/root-ca.js';
import { CSR_BYTES_MAX, NODE_CERTIFICATE_LIFETIME_MS } from '../../rpc/limits.js';
import type { Store, StoreEvent } from '../../store/types.js';
import { signingCaOf } from './cluster-root.js';
import {
  NODE_ID_ATTEMPTS_MAX,
  SIGNING_RETRY_MS,
  STATUS_WAIT_MS_MAX,
  STATUS_WAITS_MAX,
} from './constants.js';
import { type ExternalAuthority, externalUrls, NO_EXTERNAL_AUTHORITY } from './external-ca.js';

/** Signs certificates while it runs; runs on the leader only. */
export class CertificateAuthority {
  readonly #store: Store;
  readonly #external: ExternalAuthority;
  readonly #clusterId: string;
  readonly #env: Environment;
  readonly #logger: Logger;
  /** Nodes whose request waits for the signer, in order; one entry a node. */
  readonly #pending = new Set<string>();
  #signing: Promise<void> | undefined;
  #waits = 0;
  #unsubscribe: (() => void) | undefined;

  constructor(options: {
    store: Store;
    clusterId: string;
    env: Environment;
    logger: Logger;
    /** Signs in place of the cluster's key where one is set for the root; default: none can be reached. */
    external?: ExternalAuthority;
  }) {
    this.#external = options.external ?? NO_EXTERNAL_AUTHORITY;
    this.#store = options.store;
    this.#clusterId = options.clusterId;
    this.#env = options.env;
    this.#logger = options.logger;
  }

  /** Begins to sign, with what is pending already. Idempotent. */
  start(): void {
    if (this.#unsubscribe !== undefined) return;
    const { result, unsubscribe } = this.#store.viewAndSubscribe(
      (read) => read.find('node', { by: 'all' }),
      (events) => this.#onEvents(events),
    );
    this.#unsubscribe = unsubscribe;
    for (const node of result) this.#enqueue(node);
  }

  /** Stops signing; requests stay in the store. Idempotent. */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#pending.clear();
    await this.#signing;
  }

  /**
   * Admits a new node by token, or stores the renewal request of `renewing` (the node id that the
   * caller's certificate proved).
   * @throws SkepError invalid_argument `A valid join token is necessary to join this cluster`
   */
  async issue(
    request: IssueNodeCertificateRequest,
    renewing: string | undefined,
  ): Promise<IssueNodeCertificateResponse> {
    this.#checkRunning();
    if (request.csr.length === 0) throw new SkepError('invalid_argument', 'InvalidArgument');
    if (request.csr.length > CSR_BYTES_MAX) {
      throw new SkepError('invalid_argument', 'certificate request is too large');
    }
    if (renewing !== undefined) return this.#renew(renewing, request.csr);
    const role = this.#roleOfToken(request.token);
    if (role === undefined) {
      throw new SkepError(
        'invalid_argument',
        'A valid join token is necessary to join this cluster',
      );
    }
    if (NodeSpec_Availability[request.availability] === undefined) {
      throw new SkepError('invalid_argument', 'InvalidArgument');
    }
    const nodeId = await this.#createNode(request, role);
    return create(IssueNodeCertificateResponseSchema, {
      nodeId,
      nodeMembership: NodeSpec_Membership.ACCEPTED,
    });
  }

  /**
   * The state of a node's certificate, once it is final or the wait got long.
   * @throws SkepError not_found `NotFound`; canceled when `signal` aborts; resource_exhausted
   */
  async status(nodeId: string, signal: AbortSignal): Promise<NodeCertificateStatusResponse> {
    if (nodeId === '') throw new SkepError('invalid_argument', 'InvalidArgument');
    if (this.#waits >= STATUS_WAITS_MAX) {
      throw new SkepError('resource_exhausted', 'too many nodes wait for certificates');
    }
    this.#waits++;
    const certificate = await this.#waitForFinal(nodeId, signal).finally(() => this.#waits--);
    return create(NodeCertificateStatusResponseSchema, {
      certificate,
      ...(certificate.status === undefined ? {} : { status: certificate.status }),
    });
  }

  #checkRunning(): void {
    if (this.#unsubscribe === undefined) {
      throw new SkepError('unavailable', 'certificate authority is not running on this manager');
    }
  }

  #roleOfToken(token: string): NodeRole | undefined {
    const tokens = this.#store.view((read) => read.get('cluster', this.#clusterId))?.rootCa
      ?.joinTokens;
    if (tokens === undefined) return undefined;
    // Both are compared, whatever the first result, in constant time.
    const isManager = equalSecrets(token, tokens.manager);
    const isWorker = equalSecrets(token, tokens.worker);
    if (isManager) return NodeRole.MANAGER;
    return isWorker ? NodeRole.WORKER : undefined;
  }

  async #createNode(request: IssueNodeCertificateRequest, role: NodeRole): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      const id = newId(this.#env.random);
      const cluster = this.#store.view((read) => read.get('cluster', this.#clusterId));
      const node = create(NodeSchema, {
        id,
        role,
        // The node's only word on which port the cluster's tunnels use.
        VXLANUDPPort: cluster?.VXLANUDPPort ?? 0,
        spec: {
          desiredRole: role,
          membership: NodeSpec_Membership.ACCEPTED,
          availability: request.availability,
        },
        certificate: {
          role,
          csr: request.csr,
          cn: id,
          status: { state: IssuanceStatus_State.PENDING },
        },
      });
      try {
        await this.#store.update((write) => write.create('node', node));
        return id;
      } catch (error) {
        const isCollision = SkepError.from(error).code === 'already_exists';
        if (!isCollision || attempt === NODE_ID_ATTEMPTS_MAX) throw error;
      }
    }
  }

  async #renew(nodeId: string, csr: Uint8Array): Promise<IssueNodeCertificateResponse> {
    const nodeMembership = await this.#store.update((write) => {
      const node = write.get('node', nodeId);
      if (node === undefined) {
        throw new SkepError(
          'not_found',
          `node ${nodeId} not found when attempting to renew certificate`,
        );
      }
      const copy = clone(NodeSchema, node);
      copy.certificate = create(CertificateSchema, {
        role: node.role,
        csr,
        cn: nodeId,
        status: { state: IssuanceStatus_State.RENEW },
      });
      write.update('node', copy);
      return node.spec?.membership ?? NodeSpec_Membership.ACCEPTED;
    });
    return create(IssueNodeCertificateResponseSchema, { nodeId, nodeMembership });
  }

  #onEvents(events: readonly StoreEvent[]): void {
    for (const event of events) {
      if (event.table === 'node' && event.kind !== 'remove') this.#enqueue(event.object);
    }
  }

  #enqueue(node: Node): void {
    const state = node.certificate?.status?.state;
    const isPending =
      state === IssuanceStatus_State.PENDING || state === IssuanceStatus_State.RENEW;
    if (!isPending) return;
    this.#pending.add(node.id);
    this.#pump();
  }

  #pump(): void {
    this.#signing ??= this.#signPending().finally(() => {
      this.#signing = undefined;
      if (this.#pending.size > 0) this.#pump();
    });
  }

  async #signPending(): Promise<void> {
    for (const nodeId of this.#pending) {
      this.#pending.delete(nodeId);
      try {
        await this.#sign(nodeId);
      } catch (error) {
        // The request stays pending in the store: the next leader, or the node's next try, has it.
        this.#logger.error({ error, nodeId }, 'signing a node certificate failed');
        this.#retryLater(nodeId);
      }
    }
  }

  #retryLater(nodeId: string): void {
    this.#env.clock.setTimer(SIGNING_RETRY_MS, () => {
      if (this.#unsubscribe === undefined) return;
      const node = this.#store.view((read) => read.get('node', nodeId));
      if (node !== undefined) this.#enqueue(node);
    });
  }

  async #sign(nodeId: string): Promise<void> {
    const { node, cluster } = this.#store.view((read) => ({
      node: read.get('node', nodeId),
      cluster: read.get('cluster', this.#clusterId),
    }));
    const request = node?.certificate;
    const root = cluster?.rootCa;
    if (cluster === undefined || root === undefined || request === undefined) return;
    const next = clone(CertificateSchema, request);
    try {
      const pem = await this.#issue(cluster, root, {
        csrPem: text(request.csr),
        nodeId,
        clusterId: this.#clusterId,
        role: request.role === NodeRole.MANAGER ? 'manager' : 'worker',
        lifetimeMs:
          durationMs(cluster.spec?.caConfig?.nodeCertExpiry) ?? NODE_CERTIFICATE_LIFETIME_MS,
      });
      next.certificate = Buffer.from(pem);
      next.status = create(IssuanceStatusSchema, { state: IssuanceStatus_State.ISSUED });
    } catch (error) {
      // An external authority that does not answer may answer later.
      if (!(error instanceof SkepError) || error.code === 'unavailable') throw error;
      const status = { state: IssuanceStatus_State.FAILED, err: error.message };
      next.status = create(IssuanceStatusSchema, status);
    }
    await this.#storeCertificate(nodeId, request, next);
  }

  async #issue(cluster: Cluster, root: RootCA, template: NodeCertificateTemplate): Promise<string> {
    const present = text(root.caCert);
    const issuing = text(root.rootRotation?.caCert ?? root.caCert);
    const urls = externalUrls(cluster.spec?.caConfig?.externalCas ?? [], issuing, present);
    if (urls.length > 0) {
      const pem = await this.#external.sign(urls, issuing, template);
      return `${pem}${text(root.rootRotation?.crossSignedCaCert ?? new Uint8Array())}`;
    }
    const signer = signingCaOf(root);
    if (signer === undefined) {
      throw new SkepError(
        'unavailable',
        'the key of the root is outside, and no external CA is set',
      );
    }
    return await issueNodeCertificate(signer, template, this.#env);
  }

  async #storeCertificate(nodeId: string, from: Certificate, to: Certificate): Promise<void> {
    await this.#store.update((write) => {
      const node = write.get('node', nodeId);
      // Meanwhile the node may have gone or asked anew.
      if (node?.certificate === undefined) return;
      if (!Buffer.from(from.csr).equals(node.certificate.csr)) return;
      const copy = clone(NodeSchema, node);
      copy.certificate = to;
      write.update('node', copy);
    });
  }

  #waitForFinal(nodeId: string, signal: AbortSignal): Promise<Certificate> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        timer.cancel();
        unsubscribe();
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const look = (mustAnswer: boolean): void => {
        const node = this.#store.view((read) => read.get('node', nodeId));
        const certificate = node?.certificate;
        if (certificate === undefined) {
          finish(() => reject(new SkepError('not_found', 'NotFound')));
        } else if (mustAnswer || isFinal(certificate)) {
          finish(() => resolve(certificate));
        }
      };
      const onAbort = (): void =>
        finish(() => reject(new SkepError('canceled', 'context canceled')));
      const timer = this.#env.clock.setTimer(STATUS_WAIT_MS_MAX, () => look(true));
      const unsubscribe = this.#store.subscribe((events) => {
        if (events.some((e) => e.table === 'node' && e.object.id === nodeId)) look(false);
      });
      signal.addEventListener('abort', onAbort, { once: true });
      look(signal.aborted);
    });
  }
}

function isFinal(certificate: Certificate): boolean {
  const state = certificate.status?.state;
  return state !== IssuanceStatus_State.PENDING && state !== IssuanceStatus_State.RENEW;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

function equalSecrets(given: string, wanted: string): boolean {
  if (wanted === '') return false;
  const digest = (value: string): Buffer => createHash('sha256').update(value).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}
