/**
 * Follows the engine's event stream and lets others wait for a condition of a container. Events
 * only say "look again": the truth is always a fresh inspect, so a lost or repeated event, or an
 * engine that was restarted, cannot leave a waiter behind.
 */
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { Logger } from '../observe/logger.js';
import { lifeAbort, sleep, throwIfAborted, WakeFlag } from './async.js';
import type { ContainerState, EngineClient } from './engine-client.js';
import {
  EVENT_LINE_MAX_BYTES,
  EVENTS_BACKOFF_MAX_MS,
  EVENTS_BACKOFF_MIN_MS,
  EVENTS_OVERLAP_MS,
} from './limits.js';

/** The engine's events, shared by all tasks. */
export class EngineWatch {
  private readonly waiters = new Map<string, Set<WakeFlag>>();
  /**
   * What the last wait for a container saw, until the next wait takes it or an event says that it
   * is old: the wait for the end follows the one for the start at once. Every container's last
   * event takes its entry away.
   */
  private readonly seen = new Map<string, ContainerState>();
  private readonly life = lifeAbort();
  private loop: Promise<void> | undefined;
  /** Whether events arrive: only then does silence mean that nothing happened. */
  private following = false;

  constructor(
    private readonly client: EngineClient,
    private readonly environment: Environment,
    private readonly logger: Logger,
  ) {}

  /** Opens the stream and keeps it open; idempotent. */
  start(): void {
    this.loop ??= this.run();
  }

  /** Closes the stream. */
  async stop(): Promise<void> {
    this.life.abort();
    await this.loop;
  }

  /**
   * Looks at a container now and after each of its events, until `judge` answers. What a wait
   * before this one saw stands for the first look, if no event came since.
   * @throws SkepError canceled by `signal`; unavailable when the engine cannot be asked
   */
  async until<R>(
    containerId: string,
    judge: (state: ContainerState | undefined) => R | undefined,
    signal: AbortSignal,
  ): Promise<R> {
    const flag = new WakeFlag();
    const flags = this.waiters.get(containerId) ?? new Set();
    this.waiters.set(containerId, flags.add(flag));
    let state = this.seen.get(containerId);
    this.seen.delete(containerId);
    try {
      for (;;) {
        throwIfAborted(signal);
        state ??= await this.client.inspect(containerId);
        const verdict = judge(state);
        if (verdict !== undefined) {
          if (state?.running === true && this.following && !flag.isRaised) {
            this.seen.set(containerId, state);
          }
          return verdict;
        }
        state = undefined;
        await flag.wait(signal);
      }
    } finally {
      flags.delete(flag);
      if (flags.size === 0) this.waiters.delete(containerId);
    }
  }

  private async run(): Promise<void> {
    const { clock } = this.environment;
    let backoffMs = EVENTS_BACKOFF_MIN_MS;
    while (!this.life.signal.aborted) {
      try {
        const sinceMs = clock.nowMs() - EVENTS_OVERLAP_MS;
        const stream = await this.client.events(sinceMs, this.life.signal);
        backoffMs = EVENTS_BACKOFF_MIN_MS;
        this.following = true;
        this.wakeAll();
        await this.read(stream);
      } catch (error) {
        if (this.life.signal.aborted) return;
        const text = SkepError.from(error).message;
        this.logger.info({ error: text }, 'engine event stream lost');
      }
      this.following = false;
      // Waiters look again at once: the engine may be gone, and then they say so.
      this.wakeAll();
      await sleep(clock, backoffMs, this.life.signal).catch(() => undefined);
      backoffMs = Math.min(backoffMs * 2, EVENTS_BACKOFF_MAX_MS);
    }
  }

  private async read(stream: NodeJS.ReadableStream): Promise<void> {
    let rest = '';
    for await (const chunk of stream) {
      rest += chunk.toString();
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > EVENT_LINE_MAX_BYTES) throw new SkepError('internal', 'event too long');
      for (const line of lines) if (line.trim() !== '') this.wake(containerOf(line));
    }
  }

  private wake(containerId: string | undefined): void {
    if (containerId === undefined) return;
    this.seen.delete(containerId);
    for (const flag of this.waiters.get(containerId) ?? []) flag.raise();
  }

  private wakeAll(): void {
    this.seen.clear();
    for (const flags of this.waiters.values()) for (const flag of flags) flag.raise();
  }
}

/** Id of the container an event line is about. */
function containerOf(line: string): string | undefined {
  const event = JSON.parse(line) as { Actor?: { ID?: unknown } } | null;
  const id = event?.Actor?.ID;
  return typeof id === 'string' ? id : undefined;
}
