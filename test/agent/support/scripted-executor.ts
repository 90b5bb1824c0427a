/** An executor whose effects a test finishes by hand; it shows which effects run. */
import { create } from '@bufbuild/protobuf';
import { abortedError } from '../../../src/agent/async.js';
import type {
  Executor,
  FoundContainer,
  LogLine,
  RemoveOptions,
  RuntimeFacts,
  TaskController,
} from '../../../src/agent/executor.js';
import { SkepError } from '../../../src/model/errors.js';
import type { Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NodeDescription,
  NodeDescriptionSchema,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';

type Effect = 'prepare' | 'start' | 'wait' | 'shutdown' | 'remove';

/** One effect in progress. */
export interface Pending {
  readonly effect: Effect;
  readonly signal: AbortSignal;
  succeed(): void;
  fail(error: SkepError): void;
}

/** A controller that waits for the test, or lets chosen effects succeed at once. */
export class ScriptedController implements TaskController {
  /** Effects begun, in order. */
  readonly begun: Effect[] = [];
  pending: Pending | undefined;
  lines: LogLine[] = [];
  readonly updates: Task[] = [];
  readonly removals: RemoveOptions[] = [];
  /** What is known of the container; set by the test. */
  known: RuntimeFacts | undefined;

  /** CPU time the container has used; set by the test. */
  cpuNs: number | undefined;

  constructor(private readonly immediate: ReadonlySet<Effect>) {}

  prepare(signal: AbortSignal): Promise<void> {
    return this.begin('prepare', signal);
  }

  start(signal: AbortSignal): Promise<void> {
    return this.begin('start', signal);
  }

  wait(signal: AbortSignal): Promise<void> {
    return this.begin('wait', signal);
  }

  shutdown(signal: AbortSignal): Promise<void> {
    return this.begin('shutdown', signal);
  }

  remove(signal: AbortSignal, options: RemoveOptions): Promise<void> {
    this.removals.push(options);
    return this.begin('remove', signal);
  }

  update(task: Task): Promise<void> {
    this.updates.push(task);
    return Promise.resolve();
  }

  facts(): RuntimeFacts | undefined {
    return this.known;
  }

  cpuTimeNs(): Promise<number | undefined> {
    return Promise.resolve(this.cpuNs);
  }

  async *logs(): AsyncIterable<LogLine> {
    yield* this.lines;
  }

  private begin(effect: Effect, signal: AbortSignal): Promise<void> {
    this.begun.push(effect);
    if (this.immediate.has(effect)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(abortedError()), { once: true });
      this.pending = { effect, signal, succeed: resolve, fail: reject };
    });
  }
}

/** Executor of {@link ScriptedController}s. */
export class ScriptedExecutor implements Executor {
  readonly controllers = new Map<string, ScriptedController>();
  containers: FoundContainer[] = [];
  readonly removed: string[] = [];
  readonly removals: RemoveOptions[] = [];
  hostname = 'scripted';

  constructor(
    private readonly immediate: readonly Effect[] = ['prepare', 'start', 'shutdown', 'remove'],
  ) {}

  start(): void {
    return;
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  describe(): Promise<NodeDescription> {
    return Promise.resolve(create(NodeDescriptionSchema, { hostname: this.hostname }));
  }

  controller(task: Task): TaskController {
    if (task.spec?.runtime.case === 'generic') {
      throw new SkepError('invalid_argument', 'unsupported runtime');
    }
    const controller = new ScriptedController(new Set(this.immediate));
    this.controllers.set(task.id, controller);
    return controller;
  }

  findContainers(): Promise<readonly FoundContainer[]> {
    return Promise.resolve(this.containers);
  }

  removeContainer(containerId: string, options: RemoveOptions): Promise<void> {
    this.removed.push(containerId);
    this.removals.push(options);
    return Promise.resolve();
  }
}
