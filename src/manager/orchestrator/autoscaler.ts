/**
 * Scales replicated services by the CPU that their tasks use (`skep.autoscale.*`). Only the number of
 * replicas changes, as by `docker service scale`; what an update has left for a rollback, and its status,
 * stay. What was needed of late is kept in memory: a new leader watches for a whole window first.
 */
import { type AutoscaleSettings, autoscaleSettings } from '../../model/autoscale.js';
import type { Timer } from '../../model/environment.js';
import type { Service, Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { ServiceSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { isWanted, observedState, serviceMode } from '../../model/task-state.js';
import type { ReadTransaction, StoreEvent, WriteTransaction } from '../../store/types.js';
import type { TaskUsage } from '../statistics/task-usage.js';
import { isInProgress, isPaused } from '../updater/update-status.js';
import { LeaderLoop, type LeaderLoopOptions } from './leader-loop.js';
import { AUTOSCALE_PERIOD_MS } from './limits.js';
import { neededReplicas, ScaleHistory } from './scale-decision.js';
import { writeScaleRecord } from './scale-record.js';

/** A change of a service's number of replicas. */
interface Decision {
  readonly service: Service;
  readonly settings: AutoscaleSettings;
  readonly from: number;
  readonly to: number;
}

/** Scales all services that ask for it. */
export class Autoscaler extends LeaderLoop {
  readonly #usage: Pick<TaskUsage, 'milliCpus'>;
  /** By service. */
  readonly #histories = new Map<string, ScaleHistory>();
  #timer: Timer | undefined;

  constructor(options: LeaderLoopOptions & { readonly usage: Pick<TaskUsage, 'milliCpus'> }) {
    super(options, 'autoscaler');
    this.#usage = options.usage;
  }

  override async stop(): Promise<void> {
    this.#timer?.cancel();
    await super.stop();
  }

  protected observeAll(transaction: ReadTransaction): void {
    for (const service of transaction.find('service', { by: 'all' })) this.#noteService(service);
  }

  protected observe(event: StoreEvent): void {
    if (event.table !== 'service') return;
    if (event.kind === 'remove') this.#histories.delete(event.object.id);
    else this.#noteService(event.object);
  }

  #noteService(service: Service): void {
    if (settingsOf(service) === undefined) {
      this.#histories.delete(service.id);
      return;
    }
    if (!this.#histories.has(service.id)) this.#histories.set(service.id, new ScaleHistory());
    this.#arm();
  }

  #arm(): void {
    if (this.#histories.size === 0 || this.loop.stopped) return;
    this.#timer ??= this.environment.clock.setTimer(AUTOSCALE_PERIOD_MS, () => {
      this.#timer = undefined;
      this.loop.trigger();
      this.#arm();
    });
  }

  protected async pass(): Promise<void> {
    for (const [serviceId, history] of [...this.#histories]) {
      const decision = this.store.view((transaction) => {
        const service = transaction.get('service', serviceId);
        return service && this.#decide(transaction, service, history);
      });
      if (decision === undefined) continue;
      const isDone = await this.store.update((transaction) => apply(transaction, decision));
      if (!isDone) continue;
      history.decided(this.environment.clock.monotonicMs());
      this.#tell(decision);
    }
  }

  #decide(
    transaction: ReadTransaction,
    service: Service,
    history: ScaleHistory,
  ): Decision | undefined {
    const settings = settingsOf(service);
    const from = replicasOf(service.spec);
    const nowMs = this.environment.clock.monotonicMs();
    // Who scales to none has turned it off.
    if (settings === undefined || from === undefined || from === 0) return undefined;
    if (isInProgress(service) || isPaused(service)) {
      history.note(nowMs, from, undefined);
      return undefined;
    }
    const bounded = Math.min(settings.max, Math.max(settings.min, from));
    if (bounded !== from && !settings.isDryRun) return { service, settings, from, to: bounded };
    const tasks = transaction.find('task', { by: 'service', serviceId: service.id });
    const percents = tasks.flatMap((task) => this.#percentOf(task) ?? []);
    history.note(nowMs, from, neededReplicas({ replicas: from, percents }, settings));
    const to = history.decide(nowMs, settings);
    return to === undefined ? undefined : { service, settings, from, to };
  }

  /** What the task uses, in percent of the CPU it reserves; else of its limit; else of one CPU. */
  #percentOf(task: Task): number | undefined {
    if (!isWanted(task) || observedState(task) !== TaskState.RUNNING) return undefined;
    const milliCpus = this.#usage.milliCpus(task.id);
    if (milliCpus === undefined) return undefined;
    const { reservations, limits } = task.spec?.resources ?? {};
    const nanoCpus = Number(reservations?.nanoCpus || limits?.nanoCpus || 1_000_000_000n);
    return (milliCpus * 100 * 1_000_000) / nanoCpus;
  }

  #tell({ service, settings, from, to }: Decision): void {
    const serviceName = service.spec?.annotations?.name ?? '';
    const { isDryRun } = settings;
    this.logger.info(
      { serviceId: service.id, serviceName, from, to, isDryRun },
      isDryRun ? 'a service would be scaled by its load' : 'a service is scaled by its load',
    );
  }
}

function settingsOf(service: Service): AutoscaleSettings | undefined {
  if (serviceMode(service) !== 'replicated') return undefined;
  return autoscaleSettings(service.spec?.annotations?.labels);
}

function replicasOf(spec: ServiceSpec | undefined): number | undefined {
  return spec?.mode.case === 'replicated' ? Number(spec.mode.value.replicas) : undefined;
}

/** Returns false when the service is another one meanwhile. */
function apply(
  transaction: WriteTransaction,
  { service, settings: { isDryRun }, from, to }: Decision,
): boolean {
  const current = transaction.get('service', service.id);
  if (current?.spec === undefined || settingsOf(current) === undefined) return false;
  if (replicasOf(current.spec) !== from || isInProgress(current)) return false;
  writeScaleRecord(transaction, {
    serviceId: service.id,
    serviceName: current.spec.annotations?.name ?? '',
    attributes: {
      'replicas.old': String(from),
      'replicas.new': String(to),
      'dry-run': String(isDryRun),
    },
  });
  if (isDryRun) return true;
  const changed: Service = { ...current, spec: withReplicas(current.spec, to) };
  // A rollback is about what runs, not about how often.
  if (current.previousSpec !== undefined)
    changed.previousSpec = withReplicas(current.previousSpec, to);
  transaction.update('service', changed);
  return true;
}

function withReplicas(spec: ServiceSpec, replicas: number): ServiceSpec {
  if (spec.mode.case !== 'replicated') return spec;
  const value = { ...spec.mode.value, replicas: BigInt(replicas) };
  return { ...spec, mode: { case: 'replicated', value } };
}
