/**
 * The managers this node knows, each with a weight from what was observed of it. Choosing one is a
 * weighted draw, so that load spreads and a failing manager is avoided but not forgotten.
 */
import type { RandomSource } from '../model/environment.js';
import { OBSERVATION_WEIGHT, OBSERVATION_WEIGHT_MAX } from './limits.js';
import type { ManagerPeer } from './types.js';

/** Keeps managers with weight zero or below eligible, should there be no better one. */
const BIAS = 0.001;

/** A set of managers with weights in ±{@link OBSERVATION_WEIGHT_MAX}. */
export class Remotes {
  readonly #random: RandomSource;
  /** By address: a manager that moved is another remote. */
  readonly #entries = new Map<string, { peer: ManagerPeer; weight: number }>();

  constructor(random: RandomSource, peers: readonly ManagerPeer[] = []) {
    this.#random = random;
    this.replace(peers);
  }

  /** All known managers with their weights, in order of address. */
  list(): readonly { readonly peer: ManagerPeer; readonly weight: number }[] {
    return [...this.#entries.values()].sort((a, b) => (a.peer.addr < b.peer.addr ? -1 : 1));
  }

  /** The managers of a session message: others are forgotten, known ones keep their weight. */
  replace(peers: readonly ManagerPeer[]): void {
    const wanted = new Set(peers.map((peer) => peer.addr));
    for (const addr of this.#entries.keys()) {
      if (!wanted.has(addr)) this.#entries.delete(addr);
    }
    for (const peer of peers) {
      const weight = this.#entries.get(peer.addr)?.weight ?? OBSERVATION_WEIGHT;
      this.#entries.set(peer.addr, { peer, weight });
    }
  }

  /** Notes one good or bad experience; unknown addresses are ignored. */
  observe(addr: string, experience: 'good' | 'bad'): void {
    const entry = this.#entries.get(addr);
    if (entry === undefined) return;
    const change = experience === 'good' ? OBSERVATION_WEIGHT : -OBSERVATION_WEIGHT;
    const sum = entry.weight + change;
    entry.weight = Math.max(-OBSERVATION_WEIGHT_MAX, Math.min(OBSERVATION_WEIGHT_MAX, sum));
  }

  /** Draws a manager whose address is not in `except`; undefined if there is none. */
  select(except: ReadonlySet<string> = new Set()): ManagerPeer | undefined {
    const candidates = this.list().filter(({ peer }) => !except.has(peer.addr));
    const shares = candidates.map(({ weight }) => Math.max(weight, 0) + BIAS);
    let point = this.#random.next() * shares.reduce((sum, share) => sum + share, 0);
    for (const [index, share] of shares.entries()) {
      point -= share;
      if (point < 0) return candidates[index]?.peer;
    }
    return candidates.at(-1)?.peer;
  }
}
