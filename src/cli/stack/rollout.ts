/** Waiting for services, with their progress told as it changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SkepError } from '../../model/errors.js';
import { completionOf, type Progress, progressOf } from '../../stack/convergence.js';
import type { SwarmApi } from './swarm-api.js';

const POLL_MS = 400;
/** How long all tasks must run before a service counts as there: many that fail do so at once. */
const STABLE_MS = 2000;

/** What is waited for: tasks that run, or that have ended well. */
export type Goal = 'running' | 'completed';

/** Waits for services of one stack. */
export class Rollout {
  readonly #told = new Map<string, string>();

  constructor(
    private readonly api: SwarmApi,
    private readonly stack: string,
    private readonly timeoutMs: number,
    private readonly tell: (line: string) => void,
  ) {}

  /**
   * Returns once all services are there. @param names with the stack's
   * @param updated those that this deployment has changed
   * @throws SkepError deadline_exceeded; aborted when one is paused, rolled back or given up
   */
  async wait(names: readonly string[], goal: Goal, updated: ReadonlySet<string>): Promise<void> {
    const end = performance.now() + this.timeoutMs;
    let doneSince: number | undefined;
    while (names.length > 0) {
      const pending: string[] = [];
      const services = await this.api.services(this.stack);
      for (const name of names) {
        const service = services.find(({ Spec }) => Spec.Name === name);
        if (service === undefined)
          throw new SkepError('aborted', `service ${name} has been removed`);
        const tasks = await this.api.tasks(service.ID);
        const progress =
          goal === 'running'
            ? progressOf(service, tasks, updated.has(name))
            : completionOf(service, tasks);
        this.#report(name, progress);
        if (progress.kind === 'failed')
          throw new SkepError('aborted', `service ${name}: ${progress.text}`);
        if (progress.kind === 'waiting') pending.push(`${name} ${progress.text}`);
      }
      const now = performance.now();
      if (pending.length > 0) doneSince = undefined;
      else doneSince ??= now;
      if (doneSince !== undefined && (goal === 'completed' || now - doneSince >= STABLE_MS)) return;
      if (now > end)
        throw new SkepError(
          'deadline_exceeded',
          `not there after ${Math.round(this.timeoutMs / 1000)} s: ${pending.join('; ')}`,
        );
      await sleep(POLL_MS);
    }
  }

  #report(name: string, { text }: Progress): void {
    if (this.#told.get(name) === text) return;
    this.#told.set(name, text);
    this.tell(`${name}: ${text}`);
  }
}
