/**
 * One container task on a Docker Engine: each effect looks at what is there first, so that it can
 * be repeated after a crash of the daemon or a restart of the engine. The task enters the network
 * when it runs and is healthy, and leaves it before its stop signal.
 */
import type { Clock } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { LogSubscriptionOptions } from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../model/gen/docker/swarmkit/v1/types_pb.js';
import type { NodeFacts } from '../model/template/expansion.js';
import type { SocketBinds } from '../model/engine-socket.js';
import { type Readiness, readiness } from '../model/readiness.js';
import type { ProcessWatch, WatchProcess } from '../native/process-watch.js';
import type { ContainerNetworking } from '../network/types.js';
import type { Logger } from '../observe/logger.js';
import { childAbort, type Gate, orAborted, throwIfAborted } from './async.js';
import { containerBody, containerSpec } from './container-config.js';
import { containerLogs } from './container-logs.js';
import {
  createdState,
  endedOrUnhealthy,
  endedVerdict,
  hasEnded,
  restartedVerdict,
  startedVerdict,
} from './container-verdicts.js';
import { effectiveTask } from './effective-task.js';
import type { ContainerState, EngineClient } from './engine-client.js';
import type { EngineWatch } from './engine-watch.js';
import type {
  Dependencies,
  LogLine,
  RemoveOptions,
  RuntimeFacts,
  TaskController,
} from './executor.js';
import type { ImagePuller } from './image-puller.js';
import { checkMount } from './mounts.js';
import { taskName } from '../model/naming.js';
import { TASK_ID_LABEL } from './container-labels.js';
import type { Look, ProbeTarget } from './readiness-probe.js';
import { ReadinessWatch } from './readiness-watch.js';
import type { SecretMounts } from './secret-mounts.js';
import { TaskNetworking, type TaskNetworkingContext } from './task-networking.js';
import { exitError, isTemporary, UNHEALTHY } from './task-state.js';

/** What all controllers of one engine share. */
export interface ControllerContext extends TaskNetworkingContext {
  readonly client: EngineClient;
  readonly watch: EngineWatch;
  readonly puller: ImagePuller;
  readonly secrets: SecretMounts;
  readonly sockets: SocketBinds;
  /** What templates may know of this node. */
  readonly nodeFacts: () => Promise<NodeFacts>;
  readonly operations: Gate;
  readonly stops: Gate;
  /** Looks once at the readiness of a task. */
  readonly lookAt: (wanted: Readiness, target: ProbeTarget, signal: AbortSignal) => Promise<Look>;
  readonly watchProcess: WatchProcess;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Where tasks on no swarm network are looked at. */
const LOOPBACK = '127.0.0.1';

/** Effects of a container task. */
export class DockerController implements TaskController {
  private state: ContainerState | undefined;
  private readonly networking: TaskNetworking;
  /** No process before this one can have made a container for the task. */
  private untouched: boolean;
  /** This process made the container and has not tried to start it: there is nothing to look at. */
  private justMade = false;
  private readonly readiness: ReadinessWatch;

  constructor(
    private readonly context: ControllerContext,
    private task: Task,
    private readonly dependencies: Dependencies,
  ) {
    this.untouched = (task.status?.state ?? TaskState.NEW) <= TaskState.ASSIGNED;
    this.networking = new TaskNetworking(context, task);
    const { clock, logger, network } = context;
    this.readiness = new ReadinessWatch(
      {
        ...{ clock, logger, taskId: task.id },
        look: (wanted, signal) => this.lookAtReadiness(wanted, signal),
        apply: (unready) => network.setReadiness(task.id, unready),
      },
      readiness(task.serviceAnnotations?.labels),
    );
  }

  facts(): RuntimeFacts | undefined {
    const { state } = this;
    if (state === undefined) return undefined;
    return {
      containerId: state.id,
      pid: state.pid,
      exitCode: state.exitCode,
      hostPorts: this.networking.boundPorts(state),
    };
  }

  async prepare(signal: AbortSignal): Promise<void> {
    const node = await this.context.nodeFacts();
    const task = effectiveTask(this.task, node, this.context.sockets);
    const spec = containerSpec(task);
    for (const mount of spec.mounts) checkMount(mount);
    if (!this.untouched && (await this.look()) !== undefined) return;
    this.untouched = false;
    const { registryAuth = '' } = spec.pullOptions ?? {};
    const pullError = await this.context.puller.ensure(spec.image, registryAuth, signal);
    await this.context.operations.run(signal, () =>
      this.clearingUp(signal, async () => {
        const networking = await this.networking.prepare();
        throwIfAborted(signal);
        const { dependencies } = this;
        const mounts = await this.context.secrets.write({ task, node, dependencies });
        await this.create(containerBody(task, networking, mounts), pullError);
        await this.connectOthers(networking);
      }),
    );
  }

  start(signal: AbortSignal): Promise<void> {
    return this.clearingUp(signal, () => this.startToHealth(signal));
  }

  wait(signal: AbortSignal): Promise<void> {
    return this.clearingUp(signal, () => this.waitToEnd(signal));
  }

  private async startToHealth(signal: AbortSignal): Promise<void> {
    const made = this.justMade ? this.state : undefined;
    this.justMade = false;
    const state = made ?? (await this.expect());
    if (!state.running && !hasEnded(state)) {
      this.networking.requireHostPorts();
      const networking = await this.networking.prepare();
      await this.connectOthers(networking);
      await this.startContainer(state.id, signal);
    }
    const healthy = await this.context.watch.until(state.id, startedVerdict, signal);
    this.state = healthy;
    const started = await this.becomeReady(healthy, signal);
    this.state = started;
    if (started.health === 'unhealthy') throw new SkepError('unknown', UNHEALTHY);
    if (started.running) {
      await this.networking.enter(started);
    } else if (started.health !== 'none' && started.exitCode !== 0) {
      throw exitError(started.exitCode, started.error);
    }
    // Without a health check one that ended already did start: the wait tells how it ended.
  }

  /** Until it is ready for the first time, or over or unhealthy. */
  private async becomeReady(state: ContainerState, signal: AbortSignal): Promise<ContainerState> {
    const isWanted = readiness(this.task.serviceAnnotations?.labels) !== undefined;
    if (!isWanted || !state.running || state.health === 'unhealthy') return state;
    const either = childAbort(signal);
    const ended = this.context.watch.until(state.id, endedOrUnhealthy, either.controller.signal);
    const ready = this.readiness.untilReady(either.controller.signal).then(() => state);
    try {
      return await Promise.race([ended, ready]);
    } finally {
      either.controller.abort();
      either.release();
      await Promise.allSettled([ended, ready]);
    }
  }

  private async lookAtReadiness(wanted: Readiness, signal: AbortSignal): Promise<Look> {
    const { state } = this;
    if (state?.running !== true) return { kind: 'unknown' };
    const addresses = this.networking.attachments.flatMap((attachment) => attachment.addresses);
    const [address = LOOPBACK] = addresses.map((text) => text.split('/')[0] ?? LOOPBACK);
    return await this.context.lookAt(wanted, { container: state, address }, signal);
  }

  /** Has traffic follow the task's readiness while `work` goes on. */
  private async whileFollowing<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R> {
    if (this.networking.attachments.length === 0) return await work();
    const life = childAbort(signal);
    const following = this.readiness.follow(life.controller.signal).catch((thrown: unknown) => {
      const { code, message } = SkepError.from(thrown);
      if (code === 'canceled') return;
      const fields = { taskId: this.task.id, error: message };
      this.context.logger.error(fields, 'readiness is not followed any more');
    });
    try {
      return await work();
    } finally {
      life.controller.abort();
      life.release();
      await following;
    }
  }

  private async startContainer(id: string, signal: AbortSignal): Promise<void> {
    const { operations, client } = this.context;
    try {
      await operations.run(signal, () => client.start(id));
    } catch (thrown) {
      const error = SkepError.from(thrown);
      if (signal.aborted || isTemporary(error)) throw error;
      throw new SkepError(error.code, `starting container failed: ${error.message}`, {
        cause: thrown,
      });
    }
  }

  private async waitToEnd(signal: AbortSignal): Promise<void> {
    const { watch } = this.context;
    // After a start of ours the container is on its networks already.
    if (!this.networking.isActive) {
      const state = await this.expect();
      if (state.running) await this.networking.enter(state);
    }
    let ended = await this.whileFollowing(signal, () => this.untilOver(signal));
    let cause: string | undefined;
    if (ended.running) {
      cause = UNHEALTHY;
      await this.shutdown(signal);
      ended = await watch.until(ended.id, endedVerdict, signal);
    }
    this.state = ended;
    await this.networking.leave();
    await this.context.secrets.remove(this.task.id);
    if (ended.exitCode !== 0) throw exitError(ended.exitCode, cause ?? ended.error);
  }

  /** Until it is over or unhealthy. A restart by somebody else brings it back into traffic. */
  private async untilOver(signal: AbortSignal): Promise<ContainerState> {
    for (;;) {
      const state = this.state ?? (await this.expect());
      const { id, pid } = state;
      const watched = this.watchFirstProcess(state);
      let found: ContainerState;
      try {
        found = await this.context.watch.until(
          id,
          (now) => endedOrUnhealthy(now) ?? restartedVerdict(now, pid),
          signal,
        );
      } finally {
        watched?.close();
      }
      if (endedOrUnhealthy(found) !== undefined) return found;
      this.state = found;
      await this.networking.enter(found);
    }
  }

  /**
   * The kernel tells of the end of the container's first process some tenths of a second before the engine
   * does: traffic goes elsewhere from then on, all else waits for the engine.
   */
  private watchFirstProcess(state: ContainerState): ProcessWatch | undefined {
    if (!state.running || this.networking.attachments.length === 0) return undefined;
    const { logger, watchProcess } = this.context;
    const log = (thrown: unknown, text: string): void => {
      const { message: error } = SkepError.from(thrown);
      logger.info({ taskId: this.task.id, error }, text);
    };
    try {
      return watchProcess(state.pid, state.sandbox, () => {
        this.networking
          .drain()
          .catch((thrown: unknown) =>
            log(thrown, 'a task whose process ended could not be drained'),
          );
      });
    } catch (thrown) {
      log(thrown, 'the end of a process is left to the engine to tell');
      return undefined;
    }
  }

  /** A task that fails for good must not leave a container running or an address announced. */
  private async clearingUp(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      const error = SkepError.from(thrown);
      if (!signal.aborted && !isTemporary(error)) {
        await this.shutdown(signal);
      }
      throw error;
    }
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    const state = await this.look();
    if (state?.running === true) {
      await this.stopRunning(state, signal);
      await this.look();
    }
    await this.networking.leave();
    await this.context.secrets.remove(this.task.id);
  }

  async remove(signal: AbortSignal, options: RemoveOptions): Promise<void> {
    const state = await this.look();
    if (state?.running === true) {
      if (options.force) await this.networking.drain();
      else await this.stopRunning(state, signal);
    }
    if (state !== undefined) {
      await this.context.operations.run(signal, () => this.context.client.remove(state.id));
      this.state = undefined;
    }
    await this.networking.leave();
    await this.context.secrets.remove(this.task.id);
  }

  /** Out of the network first, then the stop signal and the service's grace period. */
  private async stopRunning(state: ContainerState, signal: AbortSignal): Promise<void> {
    await this.networking.drain();
    const grace = containerSpec(this.task).stopGracePeriod;
    const graceSeconds = grace === undefined ? undefined : Number(grace.seconds);
    await this.context.stops.run(signal, () => this.context.client.stop(state.id, graceSeconds));
  }

  async update(task: Task): Promise<void> {
    this.task = task;
    this.readiness.configure(readiness(task.serviceAnnotations?.labels));
    // After a restart of the daemon the ports to be reported need a look at the container.
    const runs = task.status?.state === TaskState.RUNNING;
    if (runs && this.state === undefined) await this.look();
    await this.networking.update(task);
  }

  async cpuTimeNs(signal: AbortSignal): Promise<number | undefined> {
    const { state } = this;
    if (state === undefined) return undefined;
    return await orAborted(this.context.client.cpuTimeNs(state.id), signal);
  }

  logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncIterable<LogLine> {
    return containerLogs(this.context.client, this.containerKey(), options, signal);
  }

  /** Id of the known container, else its name. */
  private containerKey(): string {
    const status = this.task.status?.runtimeStatus;
    const known = status?.case === 'container' ? status.value.containerId : '';
    return this.state?.id ?? (known === '' ? taskName(this.task) : known);
  }

  /** Looks at the container; one of that name that is not this task's does not count. */
  private async look(): Promise<ContainerState | undefined> {
    const found = await this.context.client.inspect(this.containerKey());
    const own = found?.labels[TASK_ID_LABEL] === this.task.id ? found : undefined;
    if (own !== undefined) this.state = own;
    return own;
  }

  private async expect(): Promise<ContainerState> {
    const state = await this.look();
    if (state !== undefined) return state;
    throw new SkepError('not_found', `No such container: ${this.containerKey()}`);
  }

  private async create(
    body: Parameters<EngineClient['create']>[1],
    pullError: string | undefined,
  ): Promise<void> {
    try {
      const id = await this.context.client.create(taskName(this.task), body);
      this.state = createdState(id, body.Labels ?? {});
      this.justMade = true;
    } catch (thrown) {
      const error = SkepError.from(thrown);
      // Made before a crash, by an effect that could not tell any more.
      if (error.code === 'already_exists' && (await this.look()) !== undefined) return;
      if (error.code !== 'not_found' || pullError === undefined) throw error;
      const text = `${error.message} (pulling it failed: ${pullError})`;
      throw new SkepError('not_found', text, { cause: thrown });
    }
  }

  /** Networks after the first: an engine of API 1.41 takes only one at creation. */
  private async connectOthers(networking: ContainerNetworking | undefined): Promise<void> {
    const others = networking?.endpoints.slice(1) ?? [];
    if (others.length === 0) return;
    const state = await this.expect();
    for (const endpoint of others) {
      if (state.networks.includes(endpoint.engineNetworkName)) continue;
      await this.context.client.connect(endpoint.engineNetworkId, state.id, endpoint.address);
    }
  }
}
