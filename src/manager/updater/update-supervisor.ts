/** At most one rolling update, or run of moves, a service: begins, replaces and ends the runs. */
import { equals } from '@bufbuild/protobuf';
import { InvariantError } from '../../model/errors.js';
import type { Service } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ServiceSpec,
  ServiceSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type { SlotKey } from '../orchestrator/task.js';
import { RETRY_DELAY_MS_MAX } from '../orchestrator/limits.js';
import { sleep } from '../orchestrator/wait-until.js';
import { type MoveOutcome, MoveRun, type MoveSource } from './move-run.js';
import type { RollingRun, RunParts } from './rolling-run.js';
import { UpdateRun } from './update-run.js';

interface ActiveRun {
  readonly run: RollingRun;
  readonly done: Promise<void>;
  /** Slots asked for meanwhile, to be looked at when the run is over. */
  later: readonly SlotKey[];
}

/** Updates of all services. */
export class UpdateSupervisor {
  readonly #parts: RunParts;
  readonly #active = new Map<string, ActiveRun>();
  readonly #finishListeners: ((serviceId: string) => void)[] = [];
  #stopped = false;

  constructor(parts: RunParts) {
    this.#parts = parts;
  }

  /** Whether an update of the service is being worked on. */
  isActive(serviceId: string): boolean {
    return this.#active.has(serviceId);
  }

  /**
   * Sees to it that `slots` come to the spec of `service`. An update to the same spec goes on; one
   * to another spec is ended first.
   */
  update(service: Service, slots: readonly SlotKey[]): void {
    if (this.#stopped) return;
    const active = this.#active.get(service.id);
    if (active !== undefined) {
      if (active.run.goesOnFor(service) && sameSpec(active.run.service.spec, service.spec)) {
        active.later = slots;
        return;
      }
      active.run.cancel();
    }
    const run = new UpdateRun(this.#parts, service);
    const done = this.#run(run, () => run.run(slots), active?.done);
    this.#active.set(service.id, { run, done, later: [] });
  }

  /**
   * Moves tasks of `service` that `source` names, unless something is under way; an update ends the
   * moves. @param onOver called at the end, before the listeners of {@link onFinished}
   */
  move(service: Service, source: MoveSource, onOver: (outcome: MoveOutcome) => void): void {
    if (this.#stopped || this.#active.has(service.id)) return;
    const run = new MoveRun(this.#parts, service, source);
    const work = async (): Promise<void> => {
      await run.run();
      onOver(run.outcome);
    };
    const done = this.#run(run, work, undefined);
    this.#active.set(service.id, { run, done, later: [] });
  }

  /** Calls `listener` whenever an update of a service is over, however it ended. */
  onFinished(listener: (serviceId: string) => void): void {
    this.#finishListeners.push(listener);
  }

  /** Ends the update of a service, if there is one. */
  cancel(serviceId: string): void {
    this.#active.get(serviceId)?.run.cancel();
  }

  /** Ends all updates; the next leader continues them from the store. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const all = [...this.#active.values()];
    for (const { run } of all) run.cancel();
    await Promise.all(all.map(({ done }) => done));
  }

  async #run(
    run: RollingRun,
    work: () => Promise<void>,
    previous: Promise<void> | undefined,
  ): Promise<void> {
    await previous;
    try {
      while (!this.#stopped && !(await this.#attempt(run, work))) {
        await sleep(this.#parts.environment.clock, RETRY_DELAY_MS_MAX, run.cancellation);
      }
    } finally {
      this.#finished(run);
    }
  }

  #finished(run: RollingRun): void {
    const serviceId = run.service.id;
    const active = this.#active.get(serviceId);
    if (active?.run !== run) return;
    this.#active.delete(serviceId);
    if (this.#stopped) return;
    for (const listener of this.#finishListeners) listener(serviceId);
    if (active.later.length === 0 || run.cancellation.cancelled) return;
    const service = this.#parts.store.view((transaction) => transaction.get('service', serviceId));
    if (service !== undefined) this.update(service, active.later);
  }

  /** Returns false when the store failed and the run must be taken up again. */
  async #attempt(run: RollingRun, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      const serviceId = run.service.id;
      this.#parts.logger.warn({ serviceId, error: message }, 'an update or move was interrupted');
      return run.cancellation.cancelled;
    }
  }
}

function sameSpec(a: ServiceSpec | undefined, b: ServiceSpec | undefined): boolean {
  if (a === b) return true;
  return a !== undefined && b !== undefined && equals(ServiceSpecSchema, a, b);
}
