/**
 * The leader's part of a rotation of the root: has the nodes renew their certificates, a few at a
 * time, until all are issued by the new root, then makes the new root the only one (SwarmKit
 * ca/reconciler.go). Follows from the store alone, so a new leader goes on where the last one was.
 */
import { clone, create } from '@bufbuild/protobuf';
import type { Environment, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  ClusterSchema,
  type Node,
  NodeSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  IssuanceStatus_State,
  IssuanceStatusSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { type IssuerInfo, isSameIssuer, issuerInfo } from '../../rpc/identity/tls-info.js';
import type { Logger } from '../../observe/logger.js';
import type { ReadTransaction, Store, StoreEvent } from '../../store/types.js';
import { newRootCaMessage } from './cluster-root.js';
import {
  ROTATION_ASK_AGAIN_MS,
  ROTATION_BATCH_MAX,
  ROTATION_BATCH_PERIOD_MS,
} from './constants.js';

/** Rotates while it runs; runs on the leader only. */
export class RootRotation {
  readonly #store: Store;
  readonly #clusterId: string;
  readonly #env: Environment;
  readonly #logger: Logger;
  /** When each node was last told to renew. */
  readonly #askedMs = new Map<string, number>();
  #unsubscribe: (() => void) | undefined;
  #timer: Timer | undefined;
  #work: Promise<void> | undefined;
  /** Monotonic time of the last batch. */
  #lastBatchMs = -Infinity;

  constructor(options: { store: Store; clusterId: string; env: Environment; logger: Logger }) {
    this.#store = options.store;
    this.#clusterId = options.clusterId;
    this.#env = options.env;
    this.#logger = options.logger;
  }

  /** Begins to follow the cluster. Idempotent. */
  start(): void {
    if (this.#unsubscribe !== undefined) return;
    this.#unsubscribe = this.#store.subscribe((events) => this.#onEvents(events));
    this.#wake(0);
  }

  /** Stops; what is under way in the store stays. Idempotent. */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#work;
  }

  #onEvents(events: readonly StoreEvent[]): void {
    if (!events.some(({ table }) => table === 'cluster' || table === 'node')) return;
    if (this.#store.view((read) => this.#desired(read)) === undefined) this.#askedMs.clear();
    else this.#wake(0);
  }

  /** Looks again after `delayMs`, or once the work under way is done. */
  #wake(delayMs: number): void {
    if (this.#unsubscribe === undefined) return;
    this.#timer?.cancel();
    this.#timer = this.#env.clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      if (this.#work !== undefined) {
        this.#wake(ROTATION_BATCH_PERIOD_MS);
        return;
      }
      this.#work = this.#step()
        .catch((error: unknown) => {
          this.#logger.warn({ error: String(error) }, 'rotating the root CA failed, trying again');
          this.#wake(ROTATION_BATCH_PERIOD_MS);
        })
        .finally(() => {
          this.#work = undefined;
        });
    });
  }

  async #step(): Promise<void> {
    const { desired, nodes } = this.#store.view((read) => ({
      desired: this.#desired(read),
      nodes: read.find('node', { by: 'all' }),
    }));
    if (desired === undefined) return;
    const behind = nodes.filter((node) => !isConverged(node, desired));
    if (behind.length === 0) {
      await this.#finish();
      return;
    }
    const nowMs = this.#env.clock.monotonicMs();
    const restMs = this.#lastBatchMs + ROTATION_BATCH_PERIOD_MS - nowMs;
    if (restMs > 0) {
      this.#wake(restMs);
      return;
    }
    const batch = behind.filter((node) => this.#mayAsk(node, nowMs)).slice(0, ROTATION_BATCH_MAX);
    if (batch.length > 0) await this.#ask(batch, nowMs);
    this.#wake(ROTATION_BATCH_PERIOD_MS);
  }

  /** A node that renews is left alone; one that did and still reports the old issuer is asked again. */
  #mayAsk(node: Node, nowMs: number): boolean {
    const askedMs = this.#askedMs.get(node.id) ?? -Infinity;
    return !isRenewing(node) && nowMs - askedMs >= ROTATION_ASK_AGAIN_MS;
  }

  async #ask(batch: readonly Node[], nowMs: number): Promise<void> {
    this.#lastBatchMs = nowMs;
    for (const { id } of batch) this.#askedMs.set(id, nowMs);
    const outcomes = await this.#store.batch(
      batch.map(({ id }) => (write) => {
        const node = write.get('node', id);
        if (node?.certificate === undefined || isRenewing(node)) return;
        const copy = clone(NodeSchema, node);
        const status = { state: IssuanceStatus_State.ROTATE };
        if (copy.certificate) copy.certificate.status = create(IssuanceStatusSchema, status);
        write.update('node', copy);
      }),
    );
    const failed = outcomes.find((outcome) => outcome !== undefined);
    if (failed !== undefined) throw failed;
    this.#logger.info({ nodes: batch.length }, 'nodes are to renew their certificates');
  }

  async #finish(): Promise<void> {
    const finished = await this.#store.update((write) => {
      const desired = this.#desired(write);
      if (desired === undefined) return false;
      if (!write.find('node', { by: 'all' }).every((node) => isConverged(node, desired)))
        return false;
      const cluster = write.get('cluster', this.#clusterId);
      const rotation = cluster?.rootCa?.rootRotation;
      if (cluster?.rootCa === undefined || rotation === undefined) return false;
      const copy = clone(ClusterSchema, cluster);
      copy.rootCa = newRootCaMessage(
        {
          certificatePem: Buffer.from(rotation.caCert).toString(),
          privateKeyPem: Buffer.from(rotation.caKey).toString(),
        },
        this.#env.random,
      );
      copy.rootCa.lastForcedRotation = cluster.rootCa.lastForcedRotation;
      write.update('cluster', copy);
      return true;
    });
    if (finished)
      this.#logger.info({}, 'the root CA is rotated: all nodes have certificates of it');
    else this.#wake(ROTATION_BATCH_PERIOD_MS);
  }

  /** Issuer that all nodes are to have; undefined when no rotation is under way. */
  #desired(read: ReadTransaction): IssuerInfo | undefined {
    const rotation = read.get('cluster', this.#clusterId)?.rootCa?.rootRotation;
    if (rotation === undefined) return undefined;
    try {
      return issuerInfo(Buffer.from(rotation.caCert).toString());
    } catch (cause) {
      throw new SkepError('data_loss', 'the new root certificate does not parse', { cause });
    }
  }
}

function isRenewing(node: Node): boolean {
  const state = node.certificate?.status?.state;
  return (
    state === IssuanceStatus_State.RENEW ||
    state === IssuanceStatus_State.PENDING ||
    state === IssuanceStatus_State.ROTATE
  );
}

/** Whether a node reports a certificate of this issuer. Its trust root follows in the end. */
function isConverged(node: Node, desired: IssuerInfo): boolean {
  const info = node.description?.tlsInfo;
  if (info === undefined) return false;
  return isSameIssuer(
    { subject: info.certIssuerSubject, publicKey: info.certIssuerPublicKey },
    desired,
  );
}
