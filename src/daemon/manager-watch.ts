/**
 * Whether the manager that this node has its session with is still there, by gossip and data path: they
 * know it in about a second, while calls to a host that has vanished only end by their time limits.
 */
import type { Clock, Timer } from '../model/environment.js';
import type { Logger } from '../observe/logger.js';

/** The manager is looked at this often. */
const LOOK_PERIOD_MS = 250;
/** A manager whose host has been silent this long is gone: other nodes send it nothing any more either. */
const GONE_AFTER_MS = 1_000;

/** What is watched, and what is done about it. */
export interface ManagerWatchParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds for which a node has surely been silent; infinite when nothing is known of it. */
  readonly silenceMs: (nodeId: string) => number;
  /** The manager of the present session. */
  readonly managerId: () => string | undefined;
  /** Begins a session with another manager. */
  readonly reconnect: () => void;
}

/** Watches from `start` to `stop`. */
export class ManagerWatch {
  private timer: Timer | undefined;

  constructor(private readonly parts: ManagerWatchParts) {}

  /** Whether a node is known to be gone. */
  isGone(nodeId: string): boolean {
    const silenceMs = this.parts.silenceMs(nodeId);
    return Number.isFinite(silenceMs) && silenceMs >= GONE_AFTER_MS;
  }

  start(): void {
    this.timer = this.parts.clock.setTimer(LOOK_PERIOD_MS, () => {
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.timer?.cancel();
  }

  private look(): void {
    const nodeId = this.parts.managerId();
    if (nodeId === undefined || !this.isGone(nodeId)) return;
    this.parts.logger.warn({ manager: nodeId }, 'the host of our manager is gone');
    this.parts.reconnect();
  }
}
