/**
 * The name server of a node, as its process has it: the tables skepd feeds, one name server in each
 * container's namespace and one at the host's address. It goes on with what it was told last, whatever
 * becomes of skepd.
 */
import type { Clock, RandomSource } from '../../../model/environment.js';
import { SkepError } from '../../../model/errors.js';
import type { OpenNamespaceResolver } from '../../../native/namespace-resolver.js';
import type { Logger } from '../../../observe/logger.js';
import {
  NAME_CONTAINERS_MAX,
  NAME_FRAME_BYTES,
  NAME_NETWORKS_MAX,
  NAME_ROWS_MAX,
} from '../../limits.js';
import { HostNameServer } from '../host-name-server.js';
import { NamespaceResolvers } from '../namespace-resolvers.js';
import { sizeOf } from '../name-feed.js';
import { type NameRow, type NameTable, NetworkNames } from '../names.js';
import type {
  FeedMessage,
  NamedContainer,
  NameSettings,
  NetworkMessage,
  RowsMessage,
} from '../protocol.js';

/** Before skepd has said anything there is nothing to answer, so nothing is denied. */
const UNTOLD: NameSettings = {
  ...{ isFilling: true, ttlSeconds: 5, address: '', port: 0, resolvConf: '/etc/resolv.conf' },
};

/** What a change of the tables needs no answer for. */
export type TableMessage = Exclude<FeedMessage, { kind: 'mark' | 'dump' | 'retire' }>;

/** What the service works with. */
export interface NameServiceParts {
  readonly open: OpenNamespaceResolver;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** What was named since `begin`. */
interface Pass {
  readonly networks: Map<string, Set<string>>;
  readonly containers: Set<string>;
}

/** From construction to `retire`. */
export class NameService {
  private readonly parts: NameServiceParts;
  private readonly networks = new Map<string, NetworkNames>();
  private readonly containers = new Map<string, NamedContainer>();
  private readonly bySandbox = new Map<string, NamedContainer>();
  private readonly byAddress = new Map<string, NamedContainer>();
  private readonly resolvers: NamespaceResolvers;
  private readonly host: HostNameServer;
  private settings = UNTOLD;
  private rowCount = 0;
  private pass: Pass | undefined;

  constructor(parts: NameServiceParts) {
    this.parts = parts;
    const { open, clock, random, logger } = parts;
    const isFilling = () => this.settings.isFilling;
    const ttlSeconds = () => this.settings.ttlSeconds;
    this.resolvers = new NamespaceResolvers({
      open,
      wanted: () => this.bySandbox.keys(),
      isWanted: (sandbox) => this.bySandbox.has(sandbox),
      namesIn: (sandbox) => this.tablesOf(this.bySandbox.get(sandbox)) ?? [],
      ...{ isFilling, ttlSeconds, clock, random, logger },
    });
    this.host = new HostNameServer({
      namesFor: (source) => this.tablesOf(this.byAddress.get(source)),
      ...{ isFilling, ttlSeconds, random, logger },
    });
    this.resolvers.start();
  }

  /** Takes a change in; it is in force when this returns. Never throws. */
  apply(message: TableMessage): void {
    switch (message.kind) {
      case 'begin':
        this.pass = { networks: new Map(), containers: new Set() };
        break;
      case 'commit':
        this.commit();
        break;
      case 'settings':
        this.settings = message.settings;
        this.host.follow(message.settings);
        break;
      case 'network':
        this.putNetwork(message);
        break;
      case 'network-gone':
        this.dropNetwork(message.id);
        break;
      case 'rows':
        this.putRows(message);
        break;
      case 'container':
        this.putContainer(message.container);
        break;
      case 'container-gone':
        this.dropContainer(message.id);
        break;
    }
  }

  /** All networks with their rows, for the skepd that comes next. */
  *dump(): Iterable<NetworkMessage | RowsMessage> {
    for (const table of this.networks.values()) {
      const { info } = table;
      yield { kind: 'network', network: info };
      let put: NameRow[] = [];
      let bytes = 0;
      for (const row of [...table.rows()]) {
        put.push(row);
        bytes += sizeOf(row);
        if (bytes < NAME_FRAME_BYTES) continue;
        yield { kind: 'rows', networkId: info.id, put, gone: [] };
        [put, bytes] = [[], 0];
      }
      if (put.length > 0) yield { kind: 'rows', networkId: info.id, put, gone: [] };
    }
  }

  /** Looks after namespaces that went or came, and the host's address. Never throws. */
  tick(): void {
    this.resolvers.reconcile();
    this.host.follow(this.settings);
  }

  /** Gives everything back; resolves once all that was asked has been answered. */
  async retire(): Promise<void> {
    await Promise.all([this.resolvers.stop(), this.host.stop()]);
  }

  private tablesOf(container: NamedContainer | undefined): readonly NameTable[] | undefined {
    return container?.networks.flatMap((id) => this.networks.get(id) ?? []);
  }

  private putNetwork({ network }: NetworkMessage): void {
    this.pass?.networks.set(network.id, new Set());
    const known = this.networks.get(network.id);
    if (known !== undefined) known.describe(network);
    else if (this.networks.size < NAME_NETWORKS_MAX)
      this.networks.set(network.id, new NetworkNames(network));
    else this.refuse('networks');
  }

  private dropNetwork(id: string): void {
    this.rowCount -= this.networks.get(id)?.size ?? 0;
    this.networks.delete(id);
    this.pass?.networks.delete(id);
  }

  private putRows({ networkId, put, gone }: RowsMessage): void {
    const table = this.networks.get(networkId);
    if (table === undefined) return;
    const named = this.pass?.networks.get(networkId);
    const before = table.size;
    for (const key of gone) {
      table.delete(key);
      named?.delete(key);
    }
    for (const row of put) {
      if (this.rowCount + table.size - before >= NAME_ROWS_MAX) {
        this.refuse('names');
        break;
      }
      table.put(row);
      named?.add(row.key);
    }
    this.rowCount += table.size - before;
  }

  private putContainer(container: NamedContainer): void {
    const { id, sandbox, addresses } = container;
    this.forget(id);
    this.pass?.containers.add(id);
    if (this.containers.size >= NAME_CONTAINERS_MAX) {
      this.refuse('containers');
      return;
    }
    this.containers.set(id, container);
    for (const address of addresses) this.byAddress.set(address, container);
    if (sandbox === undefined) return;
    this.bySandbox.set(sandbox, container);
    this.resolvers.reconcileOne(sandbox);
  }

  private dropContainer(id: string): void {
    const sandbox = this.containers.get(id)?.sandbox;
    this.forget(id);
    this.pass?.containers.delete(id);
    if (sandbox !== undefined) this.resolvers.reconcileOne(sandbox);
  }

  private forget(id: string): void {
    const known = this.containers.get(id);
    if (known === undefined) return;
    this.containers.delete(id);
    for (const address of known.addresses)
      if (this.byAddress.get(address) === known) this.byAddress.delete(address);
    const { sandbox = '' } = known;
    if (this.bySandbox.get(sandbox) === known) this.bySandbox.delete(sandbox);
  }

  private commit(): void {
    const { pass } = this;
    if (pass === undefined) return;
    this.pass = undefined;
    for (const [id, table] of this.networks) {
      const keys = pass.networks.get(id);
      if (keys === undefined) this.dropNetwork(id);
      else {
        this.rowCount -= table.size;
        table.retain(keys);
        this.rowCount += table.size;
      }
    }
    for (const id of [...this.containers.keys()]) if (!pass.containers.has(id)) this.forget(id);
    this.resolvers.reconcile();
  }

  private refuse(what: string): void {
    this.parts.logger.error({ what }, 'too many for the name server: some names do not resolve');
  }
}

/** For callers that handle the other messages themselves. */
export function isTableMessage(message: FeedMessage): message is TableMessage {
  return message.kind !== 'mark' && message.kind !== 'dump' && message.kind !== 'retire';
}

/** Text of any error, for the log. */
export function reasonOf(error: unknown): string {
  return SkepError.from(error).message;
}
