/**
 * What the agent needs from whatever runs its tasks. One implementation drives a Docker Engine
 * (docker-executor.ts); the interface keeps the state machine and the session apart from it.
 */
import type { LogSubscriptionOptions } from '../model/gen/docker/swarmkit/v1/logbroker_pb.js';
import type { Config, Secret, Task } from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type { NodeDescription, PortConfig } from '../model/gen/docker/swarmkit/v1/types_pb.js';

/** What is known of a task's container at the moment. */
export interface RuntimeFacts {
  readonly containerId: string;
  readonly pid: number;
  readonly exitCode: number;
  /** Ports published in host mode, as they are bound on this node. */
  readonly hostPorts: readonly PortConfig[];
}

/** One line of a container's log. */
export interface LogLine {
  readonly stream: 'stdout' | 'stderr';
  /** Nanoseconds since the epoch. */
  readonly timestampNs: bigint;
  readonly attributes: readonly (readonly [string, string])[];
  readonly data: Uint8Array;
}

/** How a container goes. */
export interface RemoveOptions {
  /** Killed at once instead of stopped within its grace period. */
  readonly force: boolean;
}

/**
 * The effects of one task. Each is idempotent: called again after a crash it finds what is there.
 * Errors are SkepError; `unavailable` and `aborted` are temporary. An aborted call rejects.
 */
export interface TaskController {
  /** Networks, image, container. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Starts the container; resolves once it runs and is healthy, and its network may be used. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the container exited with 0; rejects with SwarmKit's text otherwise. */
  wait(signal: AbortSignal): Promise<void>;
  /** Takes the task out of the network, then stops the container within its grace period. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** Stops what runs and removes the container with its anonymous volumes. */
  remove(signal: AbortSignal, options: RemoveOptions): Promise<void>;
  /** A changed task: published ports are followed, nothing else can change. */
  update(task: Task): Promise<void>;
  /** As of the last look at the engine; undefined before a container exists. */
  facts(): RuntimeFacts | undefined;
  /** CPU time since the container's start, nanoseconds; undefined where nothing runs. */
  cpuTimeNs(signal: AbortSignal): Promise<number | undefined>;
  /** Lines of the container; ends with the container unless following is impossible. */
  logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncIterable<LogLine>;
}

/** Secrets and configs of this node's tasks, in memory only. */
export interface Dependencies {
  secret(id: string): Secret | undefined;
  config(id: string): Config | undefined;
}

/** A container of this node's tasks found on the engine. */
export interface FoundContainer {
  readonly containerId: string;
  readonly taskId: string;
}

/** Runs tasks. */
export interface Executor {
  /** Begins to follow the engine; does not fail when the engine is away. */
  start(): void;
  /** Stops following; containers go on. */
  stop(): Promise<void>;
  /** This node as the engine sees it. @throws SkepError unavailable */
  describe(): Promise<NodeDescription>;
  /** @throws SkepError invalid_argument `unsupported runtime` for a task this node cannot run */
  controller(task: Task, dependencies: Dependencies): TaskController;
  /** All containers of tasks of this node, running or not. */
  findContainers(): Promise<readonly FoundContainer[]>;
  /** Stops and removes a container nobody claims. */
  removeContainer(containerId: string, options: RemoveOptions): Promise<void>;
}
