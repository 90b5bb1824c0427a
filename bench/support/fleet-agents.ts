/**
 * A program: many agents in one process, each with its own certificate and connection, speaking the
 * whole protocol to a manager; their tasks run nowhere, but take the time containers take to come up.
 * It is told over IPC what to do, see {@link FleetCommand}.
 *   node fleet-agents.js MANAGER:PORT TOKEN DIRECTORY
 */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { Agent } from '../../src/agent/agent.js';
import { abortedError } from '../../src/agent/async.js';
import type {
  Executor,
  FoundContainer,
  LogLine,
  RuntimeFacts,
  TaskController,
} from '../../src/agent/executor.js';
import { AGENT_PLUGIN } from '../../src/model/agent-kind.js';
import { CA, NodeCA } from '../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import { NodeSpec_Availability } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  IssuanceStatus_State,
  type NodeDescription,
  NodeDescriptionSchema,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { AGENT_VERSION_LABEL } from '../../src/model/labels.js';
import type { ContainerNetworking, NodeNetworking } from '../../src/network/types.js';
import { createLogger } from '../../src/observe/logger.js';
import { systemEnvironment as env } from '../../src/observe/system-environment.js';
import { ClientSession } from '../../src/rpc/client-session.js';
import { newCertificateRequest } from '../../src/rpc/identity/keys.js';
import { readNodeCertificate, ROOT_CA_NAME } from '../../src/rpc/identity/root-ca.js';
import { grpcTransport } from '../../src/rpc/manager-connection.js';
import { ManagerConnector } from '../../src/rpc/manager-connector.js';
import { Remotes } from '../../src/rpc/remotes.js';

/** Brings the fleet to so many agents, or waits until all in all so many tasks were told to them. */
export type FleetCommand =
  | { readonly kind: 'grow'; readonly agents: number }
  | { readonly kind: 'await'; readonly tasks: number };

/** Sent when a command is done; nanoseconds of the machine's monotonic clock, as decimal text. */
export interface FleetAnswer {
  readonly atNs: string;
}

/** What creating and starting a container takes on an idle host. */
const PREPARE_MS = 200;
const START_MS = 200;
/** Nodes that join at a time. */
const JOINING_MAX = 8;
/** Nodes that ask for their certificates on one connection, which lives for a minute at most. */
const JOINING_TOGETHER = 50;
const CALL_TIMEOUT_MS = 20_000;
const GIB = 1024n ** 3n;

const [addr = '', token = '', directory = ''] = process.argv.slice(2);
const logger = createLogger({ level: 'error' });

/** Waiting for a number of tasks. */
let awaited: { readonly tasks: number; readonly answer: () => void } | undefined;
let told = 0;

function countTask(): void {
  told += 1;
  if (awaited === undefined || told < awaited.tasks) return;
  awaited.answer();
  awaited = undefined;
}

/** A task that runs until it is stopped. */
class IdleTask implements TaskController {
  private readonly known: RuntimeFacts = {
    containerId: randomBytes(32).toString('hex'),
    pid: 1,
    exitCode: 0,
    hostPorts: [],
  };

  prepare = (signal: AbortSignal) => pause(PREPARE_MS, undefined, { signal });
  start = (signal: AbortSignal) => pause(START_MS, undefined, { signal });
  shutdown = () => Promise.resolve();
  remove = () => Promise.resolve();
  update = () => Promise.resolve();
  facts = () => this.known;

  wait(signal: AbortSignal): Promise<void> {
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(abortedError()), { once: true });
    });
  }

  async *logs(): AsyncIterable<LogLine> {
    // An idle task says nothing.
  }
}

/** An executor without an engine. */
class IdleExecutor implements Executor {
  private readonly tasks = new Set<string>();

  constructor(private readonly description: NodeDescription) {}

  start = () => undefined;
  stop = () => Promise.resolve();
  describe = () => Promise.resolve(this.description);
  findContainers = () => Promise.resolve<readonly FoundContainer[]>([]);
  removeContainer = () => Promise.resolve();

  controller({ id }: { readonly id: string }): TaskController {
    if (!this.tasks.has(id)) countTask();
    this.tasks.add(id);
    return new IdleTask();
  }
}

const NO_NETWORKING: ContainerNetworking = { endpoints: [], dnsServers: [] };

/** Networking of nodes without packets. */
const idleNetworking: NodeNetworking = {
  start: () => Promise.resolve(),
  stop: () => Promise.resolve(),
  configure: () => Promise.resolve(),
  followSession: () => undefined,
  leave: () => Promise.resolve(),
  prepareTask: () => Promise.resolve(NO_NETWORKING),
  activate: () => Promise.resolve(),
  drain: () => Promise.resolve(),
  deactivate: () => Promise.resolve(),
  republish: () => Promise.resolve(),
  ensureAttachable: () => Promise.resolve(''),
};

function describe(number: number): NodeDescription {
  return create(NodeDescriptionSchema, {
    hostname: `fleet-${number}`,
    platform: { architecture: 'x86_64', os: 'linux' },
    resources: { nanoCpus: 16_000_000_000n, memoryBytes: 64n * GIB },
    engine: {
      engineVersion: '20.10.24',
      labels: { [AGENT_VERSION_LABEL]: '0.1.0' },
      plugins: [
        AGENT_PLUGIN,
        ...['bridge', 'host', 'macvlan', 'null', 'overlay'].map((name) => ({
          type: 'Network',
          name,
        })),
        { type: 'Volume', name: 'local' },
        ...['json-file', 'journald', 'syslog', 'none'].map((name) => ({ type: 'Log', name })),
      ],
    },
  });
}

/** All nodes have one key: making keys is not what is measured. */
const request = await newCertificateRequest();
const csr = Buffer.from(request.csrPem);
const rootCaPem = await onGuestConnection(async (session) => {
  const client = createClient(CA, grpcTransport(session));
  return Buffer.from((await client.getRootCACertificate({})).certificate).toString();
});

async function onGuestConnection<R>(ask: (session: ClientSession) => Promise<R>): Promise<R> {
  const tls = { rejectUnauthorized: false, servername: ROOT_CA_NAME };
  const session = new ClientSession({ addr, tls, clock: env.clock });
  try {
    return await ask(session);
  } finally {
    session.drain();
  }
}

/** Certificates for so many new nodes. */
async function obtainCertificates(count: number): Promise<readonly string[]> {
  return await onGuestConnection(async (session) => {
    const client = createClient(NodeCA, grpcTransport(session));
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    const obtain = async (): Promise<string> => {
      const order = { csr, token, availability: NodeSpec_Availability.ACTIVE };
      const { nodeId } = await client.issueNodeCertificate(order, options);
      for (;;) {
        const { certificate } = await client.nodeCertificateStatus({ nodeId }, options);
        if (certificate?.status?.state === IssuanceStatus_State.ISSUED)
          return Buffer.from(certificate.certificate).toString();
      }
    };
    return await Promise.all(Array.from({ length: count }, obtain));
  });
}

async function startAgent(number: number, certificatePem: string): Promise<void> {
  const identity = { rootCaPem, certificatePem, privateKeyPem: request.privateKeyPem };
  const remotes = new Remotes(env.random, [{ nodeId: '', addr }]);
  const source = { current: () => identity, subscribe: () => () => undefined };
  const connector = new ManagerConnector({ remotes, identity: source, env });
  const agent = new Agent({
    nodeId: readNodeCertificate(certificatePem).nodeId,
    stateDirectory: path.join(directory, String(number)),
    executor: new IdleExecutor(describe(number)),
    network: idleNetworking,
    environment: env,
    logger,
    connect: () => connector.connect(),
    observe: (connection, outcome) => remotes.observe(connection.peer.addr, outcome),
    onSessionMessage: () => undefined,
  });
  await agent.start();
  await agent.ready();
}

let agents = 0;

async function grow(wanted: number): Promise<void> {
  for (let first = agents; first < wanted; first += JOINING_TOGETHER) {
    const count = Math.min(JOINING_TOGETHER, wanted - first);
    const certificates = [...(await obtainCertificates(count)).entries()];
    const start = async (): Promise<void> => {
      for (let one = certificates.pop(); one !== undefined; one = certificates.pop())
        await startAgent(first + one[0], one[1]);
    };
    await Promise.all(Array.from({ length: JOINING_MAX }, start));
  }
  agents = wanted;
}

async function obey(command: FleetCommand): Promise<void> {
  switch (command.kind) {
    case 'grow':
      return await grow(command.agents);
    case 'await':
      if (told >= command.tasks) return;
      await new Promise<void>((answer) => {
        awaited = { tasks: command.tasks, answer };
      });
  }
}

process.on('message', (command: FleetCommand) => {
  obey(command).then(
    () => {
      const answer: FleetAnswer = { atNs: String(process.hrtime.bigint()) };
      process.send?.(answer);
    },
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
