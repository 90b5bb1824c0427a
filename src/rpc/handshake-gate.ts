/**
 * How many connections shake hands at a time. A manager that thousands of nodes call at once and that begins
 * with all of them finishes with each so late that it has hung up by then, and gets nowhere. Connections wait
 * here instead, in an order in which no address holds up another, and those that would wait for too long are
 * refused at once, so that their nodes back off.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../model/environment.js';
import { HANDSHAKE_TURN_MS, HANDSHAKES_MAX, HANDSHAKES_WAITING_MAX } from './limits.js';

/** An end of a connection, of which TLS makes a second object. */
export type Peer = Pick<Socket, 'remoteAddress' | 'remotePort'>;

/** An accepted connection. */
export interface AcceptedSocket extends Peer {
  readonly destroyed: boolean;
  once(event: 'close' | 'error', listener: () => void): unknown;
  off(event: 'close' | 'error', listener: () => void): unknown;
  destroy(): unknown;
  resetAndDestroy(): unknown;
}

/** How many connections. */
export interface HandshakeCounts {
  /** Handshakes that are on at a time. */
  readonly shaking: number;
  readonly waiting: number;
}

const DEFAULT_LIMITS: HandshakeCounts = {
  shaking: HANDSHAKES_MAX,
  waiting: HANDSHAKES_WAITING_MAX,
};

/** Connections before their handshake; a turn ends with `leave`, with the socket, or after {@link HANDSHAKE_TURN_MS}. */
export class HandshakeGate<S extends AcceptedSocket = Socket> {
  readonly #clock: Clock;
  readonly #begin: (socket: S) => void;
  readonly #limits: HandshakeCounts;
  /** By address; addresses in the order in which their turn comes. */
  readonly #waiting = new Map<string, Set<S>>();
  /** What ends a turn, by peer. */
  readonly #turns = new Map<string, () => void>();
  #waitingCount = 0;

  /** @param begin begins the handshake */
  constructor(clock: Clock, begin: (socket: S) => void, limits = DEFAULT_LIMITS) {
    this.#clock = clock;
    this.#begin = begin;
    this.#limits = limits;
  }

  /** Handshakes that are on, and connections that wait. */
  get load(): HandshakeCounts {
    return { shaking: this.#turns.size, waiting: this.#waitingCount };
  }

  /** A connection has been accepted. */
  enter(socket: S): void {
    if (socket.destroyed) return;
    if (this.#turns.size < this.#limits.shaking) {
      this.#start(socket);
      return;
    }
    if (this.#waitingCount >= this.#limits.waiting && !this.#makeRoom(socket)) {
      socket.resetAndDestroy();
      return;
    }
    const address = socket.remoteAddress ?? '';
    this.#waiting.set(address, (this.#waiting.get(address) ?? new Set()).add(socket));
    this.#waitingCount += 1;
    socket.once('error', ignore);
    socket.once('close', () => this.#forget(address, socket));
  }

  /** The handshake of a connection that {@link enter} was told of is over, well or not. Idempotent. */
  leave(peer: Peer): void {
    this.#turns.get(keyOf(peer))?.();
  }

  /** Refuses all that wait. */
  stop(): void {
    for (const sockets of this.#waiting.values()) for (const socket of sockets) socket.destroy();
  }

  /** An address with more connections waiting than the newcomer's loses the newest of them. */
  #makeRoom(newcomer: S): boolean {
    const own = this.#waiting.get(newcomer.remoteAddress ?? '')?.size ?? 0;
    for (const [address, sockets] of this.#waiting) {
      // One more than that, lest two addresses turn each other away for ever.
      if (sockets.size <= own + 1) continue;
      const last = [...sockets].at(-1);
      if (last === undefined) continue;
      this.#forget(address, last);
      last.resetAndDestroy();
      return true;
    }
    return false;
  }

  #start(socket: S): void {
    const key = keyOf(socket);
    // Who says nothing, or stops half way, holds up nobody: its handshake may go on, its turn is over.
    const limit = this.#clock.setTimer(HANDSHAKE_TURN_MS, () => end());
    const end = (): void => {
      limit.cancel();
      if (!this.#turns.delete(key)) return;
      socket.off('close', end);
      this.#startNext();
    };
    this.#turns.set(key, end);
    socket.once('close', end);
    this.#begin(socket);
  }

  #startNext(): void {
    const next = this.#waiting.entries().next().value;
    if (next === undefined) return;
    const [address, sockets] = next;
    const [socket] = sockets;
    if (socket === undefined) return;
    this.#forget(address, socket);
    // Behind all others.
    if (this.#waiting.delete(address)) this.#waiting.set(address, sockets);
    this.#start(socket);
  }

  #forget(address: string, socket: S): void {
    const sockets = this.#waiting.get(address);
    if (sockets?.delete(socket) !== true) return;
    this.#waitingCount -= 1;
    socket.off('error', ignore);
    if (sockets.size === 0) this.#waiting.delete(address);
  }
}

function keyOf({ remoteAddress, remotePort }: Peer): string {
  return `${remoteAddress ?? ''} ${remotePort ?? 0}`;
}

/** One who hung up while it waited is forgotten by its `close`. */
function ignore(): void {
  return;
}
