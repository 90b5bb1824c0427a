/**
 * Our name server at 127.0.0.11:53 of containers on swarm networks, in front of the engine's resolver:
 * one hop less for each question. And the engine fixes a container's name servers when it is made; this
 * way names also work in one that joins a network later, or has name servers of its own choice.
 *
 * Names of swarm networks are answered here, all others are asked of the engine's resolver in the
 * same namespace, which knows the engine's own networks and the container's own servers. Sockets
 * and redirection belong to this process (main.ts): when it ends, the next one that has a door there
 * answers, else the engine's resolver.
 */
import { existsSync } from 'node:fs';
import type { Clock, RandomSource, Timer } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { NamespaceResolver, OpenNamespaceResolver } from '../../native/namespace-resolver.js';
import type { Logger } from '../../observe/logger.js';
import {
  DNS_PORT,
  ENGINE_RESOLVER_ADDRESS,
  ENGINE_RESOLVER_TIMEOUT_MS,
  NAMESPACE_FORWARDS_ALL_MAX,
  NAMESPACE_FORWARDS_MAX,
  NAMESPACE_LOOK_MS,
  NAMESPACE_LOOK_PERIOD_MS,
  NAMESPACE_RESOLVERS_MAX,
  NAMESPACE_TCP_CONNECTIONS_MAX,
} from '../limits.js';
import { DnsForwarder, ForwardBudget } from './forwarder.js';
import type { NameTable } from './names.js';
import { DnsServer } from './server.js';

/** In place of the time until which a namespace is looked for, once its absence has been logged. */
const COMPLAINED = Number.NEGATIVE_INFINITY;

/** What the resolvers work with. */
export interface NamespaceResolversParts {
  readonly open: OpenNamespaceResolver;
  /** Paths of the namespaces that are to have one at this moment. */
  readonly wanted: () => Iterable<string>;
  /** Whether a path is one of them. */
  readonly isWanted: (path: string) => boolean;
  /** Names the container in a namespace may see. */
  readonly namesIn: (path: string) => readonly NameTable[];
  /** Whether names of tasks may still be missing (see DnsServerOptions). */
  readonly isFilling: () => boolean;
  /** Time to live of own answers, seconds. */
  readonly ttlSeconds: () => number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** One namespace whose questions come here. */
interface Front {
  readonly door: NamespaceResolver;
  readonly server: DnsServer;
}

/** Keeps one name server in each namespace that is to have one. */
export class NamespaceResolvers {
  private readonly parts: NamespaceResolversParts;
  private readonly fronts = new Map<string, Front>();
  /** Fronts that are being given back. */
  private readonly closing = new Set<Promise<void>>();
  /** Namespaces that did not exist yet, and until when they are looked for, monotonic. */
  private readonly lookUntilMs = new Map<string, number>();
  private readonly forwards = new ForwardBudget(NAMESPACE_FORWARDS_ALL_MAX);
  private timer: Timer | undefined;
  private running = false;

  constructor(parts: NamespaceResolversParts) {
    this.parts = parts;
  }

  /** From now on namespaces are followed. */
  start(): void {
    this.running = true;
    this.reconcile();
  }

  /** Gives everything back, and answers what has come. Idempotent. */
  async stop(): Promise<void> {
    this.running = false;
    this.timer?.cancel();
    this.timer = undefined;
    this.lookUntilMs.clear();
    for (const path of [...this.fronts.keys()]) this.close(path);
    await Promise.all(this.closing);
  }

  /** Opens what is missing and closes what is no longer wanted or no longer there. Never throws. */
  reconcile(): void {
    if (!this.running) return;
    for (const path of this.fronts.keys()) if (!this.parts.isWanted(path)) this.close(path);
    for (const path of this.lookUntilMs.keys())
      if (!this.parts.isWanted(path)) this.lookUntilMs.delete(path);
    for (const path of this.parts.wanted()) this.look(path);
    this.lookAgain();
  }

  /** The same for one path, which is not wanted any more or is from now on. Never throws. */
  reconcileOne(path: string): void {
    if (!this.running) return;
    if (this.parts.isWanted(path)) {
      this.look(path);
      this.lookAgain();
    } else {
      this.lookUntilMs.delete(path);
      this.close(path);
    }
  }

  /** A running container's namespace is ours when this returns. */
  private look(path: string): void {
    // Our sockets keep a namespace alive; they must not outlive the container.
    if (this.fronts.get(path)?.door.isAt(path) === false) this.close(path);
    if (!this.fronts.has(path)) this.open(path);
  }

  private open(path: string): void {
    const { logger } = this.parts;
    if (this.fronts.size + this.closing.size >= NAMESPACE_RESOLVERS_MAX) {
      logger.warn({ namespace: path }, 'too many containers: names do not resolve in this one');
      return;
    }
    let door: NamespaceResolver;
    try {
      door = this.parts.open(path);
    } catch (error) {
      this.notOpened(path, error);
      return;
    }
    this.lookUntilMs.delete(path);
    const server = this.makeServer(path, door);
    this.fronts.set(path, { door, server });
    server.start().then(
      () => logger.debug({ namespace: path }, 'names are answered in a container'),
      (error: unknown) => {
        const err = SkepError.from(error).message;
        logger.error({ namespace: path, err }, 'no name server in a container');
        this.close(path);
      },
    );
  }

  private makeServer(path: string, door: NamespaceResolver): DnsServer {
    const { random, logger, namesIn, isFilling, ttlSeconds } = this.parts;
    const engine = [{ address: ENGINE_RESOLVER_ADDRESS, port: DNS_PORT }];
    return new DnsServer({
      sockets: { udp: door.takeUdp(), tcp: door.takeTcp() },
      namesFor: () => namesIn(path),
      // The container may be on networks of the engine; whether it reaches outside is known there.
      mayForward: () => true,
      forwarder: new DnsForwarder({
        upstreams: () => Promise.resolve(engine),
        timeoutMs: ENGINE_RESOLVER_TIMEOUT_MS,
        underWayMax: NAMESPACE_FORWARDS_MAX,
        shared: this.forwards,
        openSocket: (transport) => door.openEngineSocket(transport),
        random,
      }),
      isFilling,
      ttlSeconds,
      connectionsMax: NAMESPACE_TCP_CONNECTIONS_MAX,
      random,
      logger,
    });
  }

  /** Not there yet, or impossible here. */
  private notOpened(path: string, error: unknown): void {
    const { clock, logger } = this.parts;
    const nowMs = clock.monotonicMs();
    const untilMs = this.lookUntilMs.get(path);
    if (untilMs === undefined) this.lookUntilMs.set(path, nowMs + NAMESPACE_LOOK_MS);
    else if (nowMs >= untilMs && untilMs !== COMPLAINED) {
      this.lookUntilMs.set(path, COMPLAINED);
      const err = SkepError.from(error).message;
      logger.warn(
        { namespace: path, err },
        'names of swarm networks do not resolve in a container',
      );
    }
  }

  /** While a namespace is expected, soon; the house keeping comes again in any case. */
  private lookAgain(): void {
    const { clock } = this.parts;
    const nowMs = clock.monotonicMs();
    if (this.timer !== undefined || !this.running) return;
    if (![...this.lookUntilMs.values()].some((untilMs) => nowMs < untilMs)) return;
    this.timer = clock.setTimer(NAMESPACE_LOOK_PERIOD_MS, () => {
      this.timer = undefined;
      const lookMs = clock.monotonicMs();
      // To try costs many times as much as to see that nothing is there yet.
      for (const [path, untilMs] of this.lookUntilMs)
        if (lookMs < untilMs && existsSync(path)) this.look(path);
      this.lookAgain();
    });
  }

  private close(path: string): void {
    const front = this.fronts.get(path);
    if (front === undefined) return;
    this.fronts.delete(path);
    const work = this.giveBack(path, front).catch((error: unknown) => {
      const err = SkepError.from(error).message;
      this.parts.logger.warn({ namespace: path, err }, 'a name server did not close cleanly');
    });
    this.closing.add(work);
    void work.finally(() => this.closing.delete(work));
  }

  /** In this order no question is lost: first nothing comes any more, then all is answered. */
  private async giveBack(path: string, { door, server }: Front): Promise<void> {
    try {
      if (door.isAt(path)) {
        door.release(server.tcpClientPorts);
        await server.drain(ENGINE_RESOLVER_TIMEOUT_MS, () => !door.isAt(path));
      }
    } finally {
      await door.close();
      await server.stop();
    }
  }
}
