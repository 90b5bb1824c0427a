/**
 * An agent on a test's own engine, with a scripted manager, and networking and processes that are only
 * remembered; it can be replaced by a new one, as after the death of the daemon.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type Docker from 'dockerode';
import type { Test } from 'tap';
import { Agent } from '../../../src/agent/agent.js';
import { DockerExecutor } from '../../../src/agent/docker-executor.js';
import { SocketBinds } from '../../../src/model/engine-socket.js';
import type { Task } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState, type TaskStatus } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { createLogger, silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { waitFor } from '../../testbed/commands.js';
import type { OwnEngine } from './own-engine.js';
import { RecordedProcesses } from './processes.js';
import { ScriptedManager } from './scripted-manager.js';
import { RecordedNetworking } from './tasks.js';

/** What an agent is made of. */
export interface AgentNodeParts {
  readonly engine: OwnEngine;
  readonly manager: ScriptedManager;
  readonly network: RecordedNetworking;
  readonly processes: RecordedProcesses;
  readonly stateDirectory: string;
  /** How it reaches the engine, where not directly. */
  readonly docker?: Docker;
}

/** One node. */
export interface AgentNode extends AgentNodeParts {
  agent: Agent;
  /** The daemon dies: a new agent finds what the old one left. */
  reborn(): Promise<void>;
}

let stateCounter = 0;

/** An agent; AGENT_LOG=1 has it log. */
export function newAgent(parts: AgentNodeParts): Agent {
  const { engine, manager, network, processes, stateDirectory } = parts;
  const { nodeId } = manager;
  const logger = process.env['AGENT_LOG'] === '1' ? createLogger({ level: 'debug' }) : silentLogger;
  return new Agent({
    nodeId,
    stateDirectory,
    executor: new DockerExecutor({
      docker: parts.docker ?? engine.docker,
      network,
      environment: systemEnvironment,
      logger,
      nodeId,
      version: '0.0.0-test',
      secretsDirectory: join(engine.directory, 'secrets'),
      sockets: new SocketBinds('/run/skep.sock', engine.socket),
      preferOfflineImage: true,
      genericResources: [],
      tlsInfo: () => undefined,
      watchProcess: processes.watch,
    }),
    network,
    environment: systemEnvironment,
    logger,
    connect: () => Promise.resolve(manager.connect()),
    observe: () => undefined,
    onSessionMessage: () => undefined,
  });
}

/** A node of its own, which leaves at the end of the test. */
export async function startAgentNode(
  t: Test,
  engine: OwnEngine,
  docker: Docker = engine.docker,
): Promise<AgentNode> {
  stateCounter += 1;
  const nodeId = `node${stateCounter}`;
  const stateDirectory = join(engine.directory, `state${stateCounter}`);
  mkdirSync(stateDirectory, { recursive: true });
  const manager = new ScriptedManager(nodeId);
  const network = new RecordedNetworking();
  const processes = new RecordedProcesses();
  const parts = { engine, manager, network, processes, stateDirectory, docker };
  const node: AgentNode = {
    ...parts,
    agent: newAgent(parts),
    async reborn() {
      await node.agent.stop();
      network.calls.length = 0;
      manager.statuses.clear();
      node.agent = newAgent(parts);
      await node.agent.start();
    },
  };
  t.teardown(() => node.agent.leave());
  await node.agent.start();
  return node;
}

/** Waits until the manager was told of this state, and of none beyond it. */
export async function reaches(node: AgentNode, task: Task, state: TaskState): Promise<void> {
  const name = `${TaskState[state]} of the task`;
  await waitFor(name, 30_000, async () => {
    const now = node.manager.stateOf(task.id);
    if (now !== undefined && now > state) {
      const last = lastStatus(node, task);
      throw new Error(`${TaskState[now]}: ${last?.message} ${last?.err}`);
    }
    return now === state ? true : undefined;
  });
}

/** As told last. */
export function lastStatus(node: AgentNode, task: Task): TaskStatus | undefined {
  return node.manager.statuses.get(task.id)?.at(-1);
}

/** As told last. */
export function containerId(node: AgentNode, task: Task): string {
  const status = lastStatus(node, task)?.runtimeStatus;
  return status?.case === 'container' ? status.value.containerId : '';
}
