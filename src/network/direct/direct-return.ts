/**
 * Finds out between which nodes replies may go straight from the backend's node to the client, and
 * tells the programs. An entry node asks each node that has tasks of a service that wants it for
 * probes, a short and a full one, under the entry node's own address, and awaits them in its programs;
 * as long as they arrive, both nodes use the way, and once they do not, none.
 *
 * A probe goes to who asked and nowhere else, under the address its node announced; probes and
 * questions are limited per peer, and every table by the peers there are.
 */
import { isIpv4 } from '../addresses.js';
import type { Clock, RandomSource } from '../../model/environment.js';
import type { Datapath } from '../../native/datapath-types.js';
import type { Logger } from '../../observe/logger.js';
import type { PathPeer, PathTransport } from '../paths/types.js';
import { explainDirect } from './explain.js';
import {
  DIRECT_DOUBT_PAUSE_MS,
  DIRECT_NONCE_BYTES,
  DIRECT_PAUSE_MS,
  DIRECT_ROUNDS_PER_TICK,
  DIRECT_STRIKES,
  DIRECT_WRITE_MS,
  PROBE_WAIT_MS,
  PROBES_PER_SECOND,
  PROVEN_LIFE_MS,
  SHORT_PROBE_BYTES,
} from './limits.js';
import { decodeDirectMessage, type DirectMessage, encodeDirectMessage } from './message.js';
import type { DirectReport, DirectState } from './types.js';

/** The part of the data path used here. */
export type DirectDatapath = Pick<
  Datapath,
  'containerMtu' | 'setDirectWays' | 'awaitDirectProbes' | 'directProbes' | 'sendDirectProbe'
>;

/** What direct return is made of. */
export interface DirectReturnParts {
  readonly datapath: DirectDatapath;
  /** Shared with the self-test of paths. */
  readonly transport: PathTransport;
  /** Whether a node is in the gossip ring. */
  readonly isAlive: (owner: string) => boolean;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

interface Watch {
  peer: PathPeer;
  /** A service that wants it has tasks there. */
  wanted: boolean;
  state: DirectState;
  /** Nonces of the round that is on, with what the peer said; undefined between rounds. */
  round: Map<string, 'asked' | 'sent' | 'unable'> | undefined;
  /** End of the round that is on, else beginning of the next. */
  nextMs: number;
  strikes: number;
  /** As backend: probes sent lately, and until when the other node lets replies go directly. */
  readonly sentNonces: string[];
  provenUntilMs: number;
  /** Probes sent in the second that is on. */
  sent: number;
}

/** Direct return of one node. */
export class DirectReturn {
  private readonly parts: DirectReturnParts;
  /** By node id, which is where messages come from. */
  private readonly watches = new Map<string, Watch>();
  private readonly counts = { asked: 0, arrived: 0, sent: 0 };
  private ownId: string | undefined;
  private sentSinceMs = 0;
  private written: { text: string; atMs: number } | undefined;

  constructor(parts: DirectReturnParts) {
    this.parts = parts;
  }

  /**
   * Own node id (undefined before it is known), the others, and the tunnels of those that are wanted.
   * Probes are of IPv4, so nodes with a tunnel address of IPv6 are left out.
   */
  configure(
    ownId: string | undefined,
    nodes: readonly PathPeer[],
    wanted: ReadonlySet<string>,
  ): void {
    this.ownId = ownId;
    const peers = nodes.filter(({ tunnelAddress }) => isIpv4(tunnelAddress));
    const ids = new Set(peers.map(({ nodeId }) => nodeId));
    for (const nodeId of this.watches.keys()) if (!ids.has(nodeId)) this.watches.delete(nodeId);
    for (const peer of peers) {
      const known = this.watches.get(peer.nodeId);
      const same =
        known?.peer.owner === peer.owner && known.peer.tunnelAddress === peer.tunnelAddress;
      const watch = known !== undefined && same ? known : this.newWatch(peer);
      watch.peer = peer;
      watch.wanted = wanted.has(peer.tunnelAddress);
      this.watches.set(peer.nodeId, watch);
    }
  }

  /** Ends rounds whose time is over, begins those that are due, and writes what is known. */
  tick(): void {
    const { clock, transport } = this.parts;
    if (this.ownId === undefined || !transport.open(this.ownId)) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.sentSinceMs >= 1000) {
      this.sentSinceMs = nowMs;
      for (const watch of this.watches.values()) watch.sent = 0;
    }
    const due = [...this.watches.values()].filter(({ nextMs }) => nextMs <= nowMs);
    const begin: Watch[] = [];
    const ended = due.filter(({ round }) => round !== undefined);
    const arrived = ended.length === 0 ? new Set<string>() : this.arrived();
    for (const watch of ended) this.end(watch, arrived, nowMs);
    // Who waits longest is next, so that none starves however many there are.
    for (const watch of due.toSorted((a, b) => a.nextMs - b.nextMs)) {
      if (ended.includes(watch)) continue;
      if (this.mayBegin(watch, nowMs) && begin.length < DIRECT_ROUNDS_PER_TICK) begin.push(watch);
    }
    for (const watch of begin) this.begin(watch, nowMs);
    if (ended.length + begin.length > 0) this.await();
    // The programs must await a probe before it is asked for.
    for (const watch of begin) this.ask(watch);
    this.write(nowMs);
  }

  /** A message that came from `nodeId`. */
  receive(nodeId: string, bytes: Uint8Array): void {
    const watch = this.watches.get(nodeId);
    const message = decodeDirectMessage(bytes);
    if (watch === undefined || message === undefined) return;
    const nonce = hex(message.nonce);
    switch (message.kind) {
      case 'ask':
        this.answer(watch, message.nonce, message.full);
        return;
      case 'sent':
      case 'unable':
        if (watch.round?.has(nonce) === true) watch.round.set(nonce, message.kind);
        return;
      case 'proven':
        // Only probes of ours prove anything.
        if (!watch.sentNonces.includes(nonce)) return;
        this.prove(watch, PROVEN_LIFE_MS);
        return;
      case 'withdrawn':
        this.prove(watch, 0);
    }
  }

  /** Everything, for operators. */
  report(): DirectReport {
    const nowMs = this.parts.clock.monotonicMs();
    const nodes = [...this.watches.values()].map(({ peer, state, provenUntilMs }) => {
      const { owner, tunnelAddress } = peer;
      const text = explainDirect({ owner, tunnelAddress, state });
      return { owner, tunnelAddress, state, asBackend: provenUntilMs > nowMs, text };
    });
    return { nodes, probes: { ...this.counts } };
  }

  private newWatch(peer: PathPeer): Watch {
    return {
      peer,
      wanted: false,
      state: { kind: 'idle' },
      round: undefined,
      nextMs: this.parts.clock.monotonicMs(),
      strikes: 0,
      sentNonces: [],
      provenUntilMs: 0,
      sent: 0,
    };
  }

  /** False if there is nothing to ask, which is told at once. */
  private mayBegin(watch: Watch, nowMs: number): boolean {
    const { peer, wanted, state } = watch;
    if (wanted && peer.answers && this.parts.isAlive(peer.owner)) return true;
    watch.nextMs = nowMs + DIRECT_DOUBT_PAUSE_MS;
    watch.strikes = 0;
    if (state.kind === 'proven') this.send(watch, 'withdrawn', this.nonce());
    this.become(watch, wanted ? (peer.answers ? 'untested' : 'silent') : 'idle');
    return false;
  }

  private begin(watch: Watch, nowMs: number): void {
    watch.round = new Map([this.nonce(), this.nonce()].map((nonce) => [hex(nonce), 'asked']));
    watch.nextMs = nowMs + PROBE_WAIT_MS;
    if (watch.state.kind === 'idle') this.become(watch, 'untested');
  }

  private ask(watch: Watch): void {
    for (const [index, nonce] of [...(watch.round?.keys() ?? [])].entries()) {
      this.counts.asked += 1;
      const message: DirectMessage = { kind: 'ask', nonce: unhex(nonce), full: index === 1 };
      this.parts.transport.send('offloaded', watch.peer.nodeId, encodeDirectMessage(message));
    }
  }

  private end(watch: Watch, arrived: ReadonlySet<string>, nowMs: number): void {
    const round = watch.round ?? new Map<string, string>();
    watch.round = undefined;
    const seen = [...round.keys()].filter((nonce) => arrived.has(nonce));
    this.counts.arrived += seen.length;
    const [first] = seen;
    if (seen.length === round.size && first !== undefined) {
      watch.strikes = 0;
      watch.nextMs = nowMs + DIRECT_PAUSE_MS;
      this.become(watch, 'proven');
      this.send(watch, 'proven', unhex(first));
      return;
    }
    watch.strikes += 1;
    const isKnown = watch.strikes >= DIRECT_STRIKES;
    watch.nextMs = nowMs + (isKnown ? DIRECT_PAUSE_MS : DIRECT_DOUBT_PAUSE_MS);
    if (!isKnown) return;
    const said = [...round.values()];
    if (watch.state.kind === 'proven') this.send(watch, 'withdrawn', this.nonce());
    this.become(
      watch,
      said.includes('unable') ? 'unable' : said.includes('sent') ? 'lost' : 'silent',
    );
  }

  /** As backend: sends the probe that was asked for. */
  private answer(watch: Watch, nonce: Uint8Array, full: boolean): void {
    if (watch.sent >= PROBES_PER_SECOND) return;
    watch.sent += 1;
    const { datapath } = this.parts;
    const bytes = full ? datapath.containerMtu : SHORT_PROBE_BYTES;
    const isSent = datapath.sendDirectProbe(watch.peer.tunnelAddress, nonce, bytes);
    if (isSent) {
      this.counts.sent += 1;
      watch.sentNonces.push(hex(nonce));
      if (watch.sentNonces.length > PROBES_PER_SECOND) watch.sentNonces.shift();
    }
    this.send(watch, isSent ? 'sent' : 'unable', nonce);
  }

  /** As backend: the entry node's word acts at once. */
  private prove(watch: Watch, lifeMs: number): void {
    const nowMs = this.parts.clock.monotonicMs();
    watch.provenUntilMs = nowMs + lifeMs;
    this.write(nowMs);
  }

  private send(watch: Watch, kind: Exclude<DirectMessage['kind'], 'ask'>, nonce: Uint8Array): void {
    const bytes = encodeDirectMessage({ kind, nonce });
    this.parts.transport.send('offloaded', watch.peer.nodeId, bytes);
  }

  private arrived(): ReadonlySet<string> {
    const rows = this.parts.datapath.directProbes().filter(({ bytes }) => bytes > 0);
    return new Set(rows.map(({ nonce }) => hex(nonce)));
  }

  private await(): void {
    const rounds = [...this.watches.values()].flatMap(({ round }) => [...(round?.keys() ?? [])]);
    this.parts.datapath.awaitDirectProbes(rounds.map(unhex));
  }

  private write(nowMs: number): void {
    const ways = [...this.watches.values()].flatMap(({ peer, state, provenUntilMs }) => {
      const asEntry = state.kind === 'proven';
      const asBackend = provenUntilMs > nowMs;
      const { tunnelAddress } = peer;
      return asEntry || asBackend ? [{ tunnelAddress, asEntry, asBackend }] : [];
    });
    const text = JSON.stringify(ways);
    const { written } = this;
    if (written?.text === text && nowMs - written.atMs < DIRECT_WRITE_MS) return;
    this.parts.datapath.setDirectWays(ways);
    this.written = { text, atMs: nowMs };
  }

  /** Takes a state in, and says so once. */
  private become(watch: Watch, kind: DirectState['kind']): void {
    const before = watch.state.kind;
    watch.state = { kind };
    if (before === kind) return;
    const { owner, tunnelAddress } = watch.peer;
    const fields = { peer: owner, tunnel: tunnelAddress };
    const text = explainDirect({ owner, tunnelAddress, state: watch.state });
    const { logger } = this.parts;
    switch (kind) {
      case 'idle':
      case 'untested':
        logger.debug(fields, text);
        return;
      case 'proven':
      case 'unable':
      case 'silent':
        logger.info(fields, text);
        return;
      case 'lost':
        logger.warn(fields, text);
    }
  }

  private nonce(): Uint8Array {
    return this.parts.random.bytes(DIRECT_NONCE_BYTES);
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function unhex(text: string): Uint8Array {
  return Buffer.from(text, 'hex');
}
