/**
 * Each pair of nodes tests its real path: small, middle and full-size packets with verified content go
 * between the nodes' addresses on the ingress network, from sockets whose checksums are left to
 * whatever offload they meet, as those of containers are. What is lost is sent again with complete
 * checksums, which tells an offload that breaks packets from a path that does.
 *
 * Stock engines answer no probes. Every queue is bounded by the peers there are; answers are limited
 * per peer, and go to known peers only.
 */
import type { Clock, RandomSource } from '../../model/environment.js';
import type { Logger } from '../../observe/logger.js';
import { WIREGUARD_OVERHEAD_BYTES } from '../limits.js';
import { explain } from './explain.js';
import { type Finding, judge, type ProbeResult, type ProbeWay, sizesBetween } from './judge.js';
import {
  ANSWER_MS,
  ANSWERS_PER_SECOND,
  BAD_PAUSE_MS,
  COPIES,
  GOOD_PAUSE_MS,
  HEARD_MS,
  KNOWN_PAUSE_MS,
  MIDDLE_PACKET_BYTES,
  NONCE_BYTES,
  PROBE_BYTES_MIN,
  PROBE_HEADER_BYTES,
  ROUNDS_PER_TICK,
  STRIKES,
} from './limits.js';
import { decodePathMessage, encodeAnswer, encodeProbe } from './probe-message.js';
import type { PathPeer, PathReport, PathState, PathTransport } from './types.js';

/** The part of the data path used here. */
export interface PathDatapath {
  readonly containerMtu: number;
  softwareChecksums(): boolean;
  useSoftwareChecksums(): void;
  sendEchoes(tunnelAddresses: readonly string[]): void;
  echoReplies(): ReadonlyMap<string, number>;
}

/** What the self-test is made of. */
export interface PathSelfTestParts {
  readonly datapath: PathDatapath;
  readonly transport: PathTransport;
  /** Whether a node is in the gossip ring. */
  readonly isAlive: (owner: string) => boolean;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

interface SentProbe {
  readonly way: ProbeWay;
  readonly packetBytes: number;
  readonly sentMs: number;
  passed: boolean;
}

interface Watch {
  peer: PathPeer;
  state: PathState;
  /** Probes of the round that is on, by nonce; undefined between rounds. */
  round: Map<string, SentProbe> | undefined;
  /** End of the round that is on, else beginning of the next. */
  nextMs: number;
  /** Last round's finding, and how many in a row were of its kind. */
  finding: Finding;
  strikes: number;
  heardMs: number | undefined;
  /** Stamp of its last echo when the round began; another one afterwards says that tunnels work. */
  echo: number | undefined;
  /** Answers given in the second that is on. */
  answered: number;
  roundTripMs: number | undefined;
}

const GOOD: Finding = { kind: 'good' };

/** Tests the paths of one node. */
export class PathSelfTest {
  private readonly parts: PathSelfTestParts;
  /** By node id, which is where messages come from. */
  private readonly watches = new Map<string, Watch>();
  private ownId: string | undefined;
  private answersSinceMs = 0;

  constructor(parts: PathSelfTestParts) {
    this.parts = parts;
  }

  /** Own node id (undefined before it is known) and the others. */
  configure(ownId: string | undefined, peers: readonly PathPeer[]): void {
    this.ownId = ownId;
    const wanted = new Set(peers.map(({ nodeId }) => nodeId));
    for (const nodeId of this.watches.keys()) if (!wanted.has(nodeId)) this.watches.delete(nodeId);
    for (const peer of peers) {
      const known = this.watches.get(peer.nodeId);
      if (known?.peer.owner === peer.owner && known.peer.tunnelAddress === peer.tunnelAddress) {
        known.peer = peer;
      } else {
        this.watches.set(peer.nodeId, this.newWatch(peer));
      }
    }
  }

  /** Ends rounds whose time is over and begins those that are due. */
  tick(): void {
    if (this.ownId === undefined) return;
    const { clock, transport } = this.parts;
    if (!transport.open(this.ownId)) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.answersSinceMs >= 1000) {
      this.answersSinceMs = nowMs;
      for (const watch of this.watches.values()) watch.answered = 0;
    }
    let begun = 0;
    const due = [...this.watches.values()].filter(({ nextMs }) => nextMs <= nowMs);
    // Who waits longest is next, so that none starves however many there are.
    for (const watch of due.toSorted((a, b) => a.nextMs - b.nextMs)) {
      if (watch.round !== undefined) this.end(watch, nowMs);
      else if (begun < ROUNDS_PER_TICK) begun += this.begin(watch, nowMs) ? 1 : 0;
    }
  }

  /** A message that came from `nodeId`. */
  receive(nodeId: string, bytes: Uint8Array): void {
    const watch = this.watches.get(nodeId);
    const message = decodePathMessage(bytes);
    if (watch === undefined || message === undefined) return;
    const nowMs = this.parts.clock.monotonicMs();
    if (message.kind === 'probe') {
      watch.heardMs = nowMs;
      if (watch.answered >= ANSWERS_PER_SECOND) return;
      watch.answered += 1;
      const answer = encodeAnswer(message.nonce, bytes.length, message.intact);
      // Both ways: an offload of ours, or a filter for one of them, must not look like the asker's trouble.
      for (const way of ['offloaded', 'summed'] as const) {
        this.parts.transport.send(way, nodeId, answer);
      }
      return;
    }
    const probe = watch.round?.get(hex(message.nonce));
    if (probe === undefined || probe.passed) return;
    probe.passed = message.intact && message.bytes + PROBE_HEADER_BYTES === probe.packetBytes;
    watch.roundTripMs = nowMs - probe.sentMs;
  }

  /** Everything, for operators. */
  report(): PathReport {
    const paths = [...this.watches.values()].map(({ peer, state, roundTripMs }) => ({
      ...peer,
      state,
      text: explain(peer, state),
      roundTripMs: state.kind === 'good' || state.kind === 'size' ? roundTripMs : undefined,
    }));
    return { softwareChecksums: this.parts.datapath.softwareChecksums(), paths };
  }

  async stop(): Promise<void> {
    this.watches.clear();
    this.ownId = undefined;
    await this.parts.transport.close();
  }

  private newWatch(peer: PathPeer): Watch {
    return {
      peer,
      state: { kind: peer.answers ? 'untested' : 'stock' },
      round: undefined,
      nextMs: this.parts.clock.monotonicMs(),
      finding: GOOD,
      strikes: 0,
      heardMs: undefined,
      echo: undefined,
      answered: 0,
      roundTripMs: undefined,
    };
  }

  /** False if there is nothing to test. */
  private begin(watch: Watch, nowMs: number): boolean {
    const { peer } = watch;
    if (!peer.answers || !this.parts.isAlive(peer.owner)) {
      watch.nextMs = nowMs + GOOD_PAUSE_MS;
      watch.finding = GOOD;
      watch.strikes = 0;
      this.become(watch, { kind: peer.answers ? 'untested' : 'stock' });
      return false;
    }
    const { datapath } = this.parts;
    const full = this.fullBytes(peer);
    const { finding } = watch;
    const between = finding.kind === 'size' ? sizesBetween(finding.passes, finding.fails) : [];
    const known = finding.kind === 'size' ? [finding.passes, finding.fails] : [];
    const small = PROBE_BYTES_MIN + PROBE_HEADER_BYTES;
    const sizes = new Set([small, Math.min(MIDDLE_PACKET_BYTES, full), full]);
    watch.round = new Map();
    const copies = finding.kind === 'good' ? 1 : COPIES;
    for (const bytes of new Set([...sizes, ...between, ...known])) {
      this.probe(watch, 'offloaded', bytes, copies);
    }
    if (finding.kind !== 'good') {
      for (const bytes of sizes) this.probe(watch, 'summed', bytes, copies);
      watch.echo = datapath.echoReplies().get(peer.tunnelAddress);
      datapath.sendEchoes([peer.tunnelAddress]);
    }
    watch.nextMs = nowMs + ANSWER_MS;
    return true;
  }

  /** Length of the longest packet that must pass. */
  private fullBytes({ encrypted }: PathPeer): number {
    return this.parts.datapath.containerMtu - (encrypted ? WIREGUARD_OVERHEAD_BYTES : 0);
  }

  private probe(watch: Watch, way: ProbeWay, packetBytes: number, copies: number): void {
    const { clock, random, transport } = this.parts;
    for (let copy = 0; copy < copies; copy += 1) {
      const nonce = random.bytes(NONCE_BYTES);
      const sentMs = clock.monotonicMs();
      watch.round?.set(hex(nonce), { way, packetBytes, sentMs, passed: false });
      const message = encodeProbe(nonce, packetBytes - PROBE_HEADER_BYTES);
      transport.send(way, watch.peer.nodeId, message);
    }
  }

  private end(watch: Watch, nowMs: number): void {
    const results: readonly ProbeResult[] = [...(watch.round?.values() ?? [])];
    watch.round = undefined;
    const finding = judge(results);
    const before = watch.finding;
    watch.finding = finding;
    watch.strikes = finding.kind === before.kind ? watch.strikes + 1 : 1;
    if (finding.kind === 'good') {
      this.become(watch, { kind: 'good', packetBytes: this.fullBytes(watch.peer) });
      watch.nextMs = nowMs + GOOD_PAUSE_MS;
      return;
    }
    const searching =
      finding.kind === 'size' && sizesBetween(finding.passes, finding.fails).length > 0;
    const isKnown = watch.strikes >= STRIKES && !searching;
    watch.nextMs = nowMs + (isKnown ? KNOWN_PAUSE_MS : BAD_PAUSE_MS);
    if (isKnown) this.become(watch, this.stateOf(watch, finding, nowMs));
  }

  private stateOf(watch: Watch, finding: Finding, nowMs: number): PathState {
    const { datapath } = this.parts;
    const full = this.fullBytes(watch.peer);
    switch (finding.kind) {
      case 'good':
        return { kind: 'good', packetBytes: full };
      case 'offload':
        return { kind: 'offload' };
      case 'size':
        return { kind: 'size', largestBytes: finding.passes, wantedBytes: full };
      case 'silent': {
        const echo = datapath.echoReplies().get(watch.peer.tunnelAddress);
        if (echo !== undefined && echo !== watch.echo) return { kind: 'unanswered' };
        const { heardMs } = watch;
        return { kind: 'blocked', heard: heardMs !== undefined && nowMs - heardMs < HEARD_MS };
      }
    }
  }

  /** Takes a state in, says so once, and repairs what can be. */
  private become(watch: Watch, state: PathState): void {
    const before = watch.state;
    watch.state = state;
    if (JSON.stringify(before) === JSON.stringify(state)) return;
    const { peer } = watch;
    const fields = { peer: peer.owner, tunnel: peer.tunnelAddress, state };
    const text = explain(peer, state);
    const { logger, datapath } = this.parts;
    switch (state.kind) {
      case 'untested':
      case 'stock':
      case 'good':
        if (before.kind === 'untested' || state.kind !== 'good') logger.debug(fields, text);
        else logger.info(fields, `the path is good again: ${text}`);
        return;
      case 'unanswered':
        logger.info(fields, text);
        return;
      case 'blocked':
      case 'size':
        logger.warn(fields, text);
        return;
      case 'offload':
        logger.warn(fields, text);
        if (datapath.softwareChecksums()) return;
        datapath.useSoftwareChecksums();
        for (const each of this.watches.values()) this.again(each);
    }
  }

  /** Tests a path anew, soon. */
  private again(watch: Watch): void {
    watch.finding = GOOD;
    watch.strikes = 0;
    watch.round = undefined;
    watch.nextMs = this.parts.clock.monotonicMs();
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
