/**
 * The name server at the node's service DNS address: the engine's resolver in containers asks it what it
 * does not know itself. It answers by the address a question comes from, and asks the host's servers for
 * other names.
 */
import type { RandomSource } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import { openSharedSockets, turnAway } from '../../native/shared-sockets.js';
import type { Logger } from '../../observe/logger.js';
import { DNS_FORWARD_TIMEOUT_MS } from '../limits.js';
import { DnsForwarder, resolvConfUpstreams } from './forwarder.js';
import type { NameSettings } from './protocol.js';
import { RememberedDenials } from './remembered-denials.js';
import { DnsServer, type DnsServerOptions, reachesOutside } from './server.js';

/** What it works with. */
export interface HostNameServerParts
  extends Pick<DnsServerOptions, 'namesFor' | 'isFilling' | 'ttlSeconds'> {
  readonly random: RandomSource;
  readonly logger: Logger;
}

type Place = Pick<NameSettings, 'address' | 'port' | 'resolvConf'>;

interface Listening {
  readonly place: Place;
  readonly udp: number;
  readonly server: DnsServer;
}

/** Listens where it is told to, between the first `follow` and `stop`. */
export class HostNameServer {
  private readonly parts: HostNameServerParts;
  private listening: Listening | undefined;
  /** The failure that was logged last: it is tried again, not told again. */
  private complained = '';

  constructor(parts: HostNameServerParts) {
    this.parts = parts;
  }

  /** Listens there, if it does not yet. Never throws; to be called again now and then. */
  follow(place: Place): void {
    if (place.port === 0) return;
    const { listening } = this;
    if (listening !== undefined && isSame(listening.place, place)) return;
    this.listening = undefined;
    if (listening !== undefined) void this.close(listening);
    try {
      this.listening = this.open(place);
      this.complained = '';
    } catch (error) {
      const err = SkepError.from(error).message;
      const fields = { address: place.address, port: place.port, err };
      if (err !== this.complained) this.parts.logger.error(fields, 'no name server on the host');
      this.complained = err;
    }
  }

  /** Gives the address back; resolves once what was asked has been answered. */
  async stop(): Promise<void> {
    const { listening } = this;
    this.listening = undefined;
    if (listening !== undefined) await this.close(listening);
  }

  private open(place: Place): Listening {
    const { namesFor, isFilling, ttlSeconds, random, logger } = this.parts;
    const { udp, tcp } = openSharedSockets(place.address, place.port);
    const skip = new Set([place.address]);
    const server = new DnsServer({
      sockets: { udp, tcp },
      mayForward: reachesOutside,
      forwarder: new RememberedDenials(
        new DnsForwarder({ upstreams: resolvConfUpstreams(place.resolvConf, skip), random }),
        () => performance.now(),
      ),
      ...{ namesFor, isFilling, ttlSeconds, random, logger },
    });
    server.start().catch((error: unknown) => {
      logger.error({ err: SkepError.from(error).message }, 'no name server on the host');
    });
    return { place, udp, server };
  }

  private async close({ udp, server }: Listening): Promise<void> {
    try {
      turnAway(udp);
      await server.drain(DNS_FORWARD_TIMEOUT_MS);
    } catch (error) {
      this.parts.logger.warn({ err: SkepError.from(error).message }, 'questions may be lost');
    }
    await server.stop();
  }
}

function isSame(one: Place, other: Place): boolean {
  return (
    one.address === other.address && one.port === other.port && one.resolvConf === other.resolvConf
  );
}
