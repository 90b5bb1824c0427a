/**
 * When an agent calls a manager again. SwarmKit's rule, a random part of a backoff that doubles from 100 ms to
 * 8 s (agent.go), with a spread in front where the swarm is so large that a manager could not shake hands with
 * all its nodes at once.
 */
import type { RandomSource } from '../model/environment.js';
import { SESSION_BACKOFF_MAX_MS, SESSION_BACKOFF_MIN_MS } from './limits.js';

/** The backoff of one agent. */
export class SessionBackoff {
  private backoffMs = SESSION_BACKOFF_MIN_MS;

  constructor(private readonly random: RandomSource) {}

  /**
   * Milliseconds to wait now that a session has ended or could not be had.
   * @param spreadMs over how long all nodes of the swarm spread their calls; 0 where this node alone is concerned
   */
  nextMs(spreadMs: number): number {
    const pauseMs = this.random.next() * Math.max(this.backoffMs, spreadMs);
    this.backoffMs = Math.min(SESSION_BACKOFF_MIN_MS + 2 * this.backoffMs, SESSION_BACKOFF_MAX_MS);
    return pauseMs;
  }

  /** A session was had. */
  reset(): void {
    this.backoffMs = SESSION_BACKOFF_MIN_MS;
  }
}
