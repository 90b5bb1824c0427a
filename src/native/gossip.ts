/**
 * The gossip thread, typed: checks what goes in, pairs joins and leaves with their outcome, and
 * hands on batches of events. The work is done in native/gossip.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { SkepError } from '../model/errors.js';
import { loadAddon } from './addon.js';
import type {
  Gossip,
  GossipEvent,
  GossipMember,
  GossipOptions,
  StartGossip,
} from './gossip-types.js';

/** Longest entry of ours, so that it travels in one datagram. */
export const ENTRY_VALUE_BYTES_MAX = 1024;
/** Longest network id, table name and node name, in UTF-8. */
const NAME_BYTES_MAX = 128;
/** Longest entry key, in UTF-8. */
const KEY_BYTES_MAX = 128;
/** [id of a join, a leave or a spreading, members reached or missing]. */
type Completion = readonly [number, number];

/** The class on the addon. Each method but the last three is false when its mailbox is full. */
interface NativeGossip {
  join(id: number, addresses: readonly (readonly [string, number])[]): boolean;
  leave(id: number, timeoutMs: number): boolean;
  joinNetwork(networkId: string): boolean;
  leaveNetwork(networkId: string): boolean;
  putEntry(networkId: string, table: string, key: string, value: Uint8Array): boolean;
  deleteEntry(networkId: string, table: string, key: string): boolean;
  spread(id: number, networkIds: readonly string[]): boolean;
  acknowledge(networkId: string, owner: string, version: number): boolean;
  reconnect(nodeName: string): boolean;
  setKeys(keys: readonly Uint8Array[]): boolean;
  members(): GossipMember[];
  counters(): Record<string, number>;
  close(): void;
}

type NativeGossipClass = new (
  options: GossipOptions,
  onBatch: (events: readonly GossipEvent[], completions: readonly Completion[]) => void,
) => NativeGossip;

/**
 * Starts a gossip thread. Events about a network come only between joinNetwork and leaveNetwork,
 * and begin with the members that are on it; leaving a network tells no removals. The thread
 * keeps the process alive until it is closed.
 *
 * @throws SkepError invalid_argument for malformed options
 * @throws Error with `code` EADDRINUSE and the like when the address cannot be bound
 */
export const startGossip: StartGossip = (options, onEvents) => new GossipThread(options, onEvents);

class GossipThread implements Gossip {
  private readonly native: NativeGossip;
  private readonly networks = new Set<string>();
  private readonly waiting = new Map<number, (reached: number) => void>();
  private nextId = 1;
  private closed = false;
  private readonly port: number;

  constructor(options: GossipOptions, onEvents: (events: readonly GossipEvent[]) => void) {
    checkName('node name', options.nodeName);
    checkKeys(options.keys);
    this.port = options.port;
    for (const address of [options.bindAddress, options.advertiseAddress]) {
      if (isIP(address) === 0) throw invalid(`not an IP address: ${address}`);
    }
    const { NativeGossip } = loadAddon();
    this.native = new (NativeGossip as NativeGossipClass)(options, (events, completions) => {
      // Events first: who waits for a join finds the members already told.
      if (events.length > 0 && !this.closed) onEvents(events);
      for (const [id, reached] of completions) this.settle(id, reached);
    });
  }

  async join(addresses: readonly string[]): Promise<number> {
    const found = await Promise.allSettled(
      addresses.map((text) => resolveAddress(text, this.port)),
    );
    const endpoints = found.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    if (this.closed || endpoints.length === 0) return 0;
    return this.request((id) => this.native.join(id, endpoints));
  }

  joinNetwork(networkId: string): void {
    checkName('network id', networkId);
    this.post(() => this.native.joinNetwork(networkId));
    this.networks.add(networkId);
  }

  leaveNetwork(networkId: string): void {
    this.post(() => this.native.leaveNetwork(networkId));
    this.networks.delete(networkId);
  }

  putEntry(networkId: string, table: string, key: string, value: Uint8Array): void {
    checkName('table', table);
    checkText('entry key', key, KEY_BYTES_MAX);
    if (value.byteLength > ENTRY_VALUE_BYTES_MAX) {
      throw invalid(`entry of ${value.byteLength} bytes, at most ${ENTRY_VALUE_BYTES_MAX} travel`);
    }
    if (!this.networks.has(networkId)) {
      throw new SkepError('failed_precondition', `not on network ${networkId}`);
    }
    this.post(() => this.native.putEntry(networkId, table, key, value));
  }

  deleteEntry(networkId: string, table: string, key: string): void {
    this.post(() => this.native.deleteEntry(networkId, table, key));
  }

  async spread(networkIds: readonly string[]): Promise<number> {
    if (this.closed) return 0;
    return this.request((id) => this.native.spread(id, networkIds));
  }

  acknowledge(networkId: string, owner: string, version: number): void {
    this.post(() => this.native.acknowledge(networkId, owner, version));
  }

  reconnect(nodeName: string): void {
    this.post(() => this.native.reconnect(nodeName));
  }

  setKeys(keys: readonly Uint8Array[]): void {
    checkKeys(keys);
    this.post(() => this.native.setKeys(keys));
  }

  members(): readonly GossipMember[] {
    return this.native.members();
  }

  counters(): Readonly<Record<string, number>> {
    return this.native.counters();
  }

  async leave(timeoutMs: number): Promise<void> {
    if (!this.closed) {
      await this.request((id) => this.native.leave(id, Math.max(0, Math.trunc(timeoutMs))));
    }
    this.close();
  }

  close(): void {
    this.closed = true;
    this.native.close();
    for (const id of [...this.waiting.keys()]) this.settle(id, 0);
  }

  private settle(id: number, reached: number): void {
    this.waiting.get(id)?.(reached);
    this.waiting.delete(id);
  }

  private request(post: (id: number) => boolean): Promise<number> {
    const id = this.nextId++;
    this.post(() => post(id));
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
    });
  }

  /** Nothing is asked of a closed thread; a full mailbox is an error, not a silent loss. */
  private post(call: () => boolean): void {
    if (this.closed || call()) return;
    throw new SkepError('resource_exhausted', 'the gossip thread has too many commands waiting');
  }
}

function invalid(message: string): SkepError {
  return new SkepError('invalid_argument', message);
}

function checkText(what: string, text: string, bytesMax: number): void {
  const bytes = Buffer.byteLength(text);
  if (bytes === 0 || bytes > bytesMax) throw invalid(`${what} must have 1 to ${bytesMax} bytes`);
}

function checkName(what: string, text: string): void {
  checkText(what, text, NAME_BYTES_MAX);
}

function checkKeys(keys: readonly Uint8Array[]): void {
  if (keys.some((key) => ![16, 24, 32].includes(key.byteLength))) {
    throw invalid('gossip keys have 16, 24 or 32 bytes');
  }
}

/** `address`, `address:port` or `[v6]:port`; the ring's port is ours; names are looked up. */
async function resolveAddress(text: string, ownPort: number): Promise<readonly [string, number]> {
  if (isIP(text) !== 0) return [text, ownPort];
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? ownPort : Number(match[3]);
  if (host === undefined || port > 65535) throw invalid(`not an address: ${text}`);
  if (isIP(host) !== 0) return [host, port];
  return [(await lookup(host)).address, port];
}
