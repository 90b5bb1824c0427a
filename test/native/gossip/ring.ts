/**
 * Real gossip threads on loopback addresses for tests: each with its own address and a picture of
 * the tables built from nothing but its events; all of them closed when the test ends.
 */
import { startGossip } from '../../../src/native/gossip.js';
import type { Gossip, GossipEvent, GossipOptions } from '../../../src/native/gossip-types.js';

/** Not the ring's usual port: a daemon on the same machine may hold that one. */
export const PORT = 17946;

/** The three keys of a ring, as a manager hands them out. */
export const KEYS = [1, 2, 3].map((byte) => new Uint8Array(16).fill(byte));

/** Gives up waiting; far beyond what any step here takes. */
const WAIT_LIMIT_MS = 20_000;

/** A /24 on loopback that is this process's own. */
const NET = `127.${100 + (process.pid % 100)}.${process.pid % 250}`;
let nextHost = 1;

/** A loopback address nobody else uses. */
export function freshAddress(): string {
  return `${NET}.${nextHost++}`;
}

/** Options for the gossip at that address. */
export function optionsFor(
  nodeName: string,
  address: string,
  overrides: Partial<GossipOptions> = {},
): GossipOptions {
  return {
    nodeName,
    bindAddress: address,
    advertiseAddress: address,
    port: PORT,
    keys: KEYS,
    profile: 'fast',
    delegate: 'networkdb',
    ...overrides,
  };
}

/** A gossip and what its events said. */
export class Peer {
  readonly gossip: Gossip;
  readonly address: string;
  readonly events: GossipEvent[] = [];
  /** Whether what was told counts as put in force. */
  acknowledges = true;
  readonly tables = new Map<string, { readonly owner: string; readonly value: string }>();

  constructor(nodeName: string, overrides: Partial<GossipOptions> = {}) {
    this.address = overrides.advertiseAddress ?? freshAddress();
    this.gossip = startGossip(optionsFor(nodeName, this.address, overrides), (events) => {
      for (const event of events) this.take(event);
    });
  }

  stateOf(nodeName: string): string | undefined {
    return this.gossip.members().find(({ name }) => name === nodeName)?.state;
  }

  value(networkId: string, table: string, key: string): string | undefined {
    return this.tables.get(`${networkId}/${table}/${key}`)?.value;
  }

  private take(event: GossipEvent): void {
    this.events.push(event);
    if (event.type === 'in-sync' && this.acknowledges)
      this.gossip.acknowledge(event.networkId, event.owner, event.version);
    if (event.type === 'entry') {
      this.tables.set(`${event.networkId}/${event.table}/${event.key}`, {
        owner: event.owner,
        value: Buffer.from(event.value).toString(),
      });
    } else if (event.type === 'entry-removed') {
      const key = `${event.networkId}/${event.table}/${event.key}`;
      if (this.tables.get(key)?.owner === event.owner) this.tables.delete(key);
    }
  }
}

/** Waits for a condition. @throws when it does not come */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + WAIT_LIMIT_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited in vain for: ${what}`);
    await sleep(10);
  }
}

/** A pause of at least that long. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
