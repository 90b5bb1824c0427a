/**
 * A program: many nodes in one process, each with its own certificate, connection and session with a
 * manager. Their tasks run nowhere; of each they tell one state, that it runs: agents tell three to five,
 * and a processor for all of them is too little for that. It is told over IPC what to do, see
 * {@link FleetCommand}.
 *   node fleet-agents.js MANAGER:PORT TOKEN NAME
 */
import { setTimeout as pause } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { AGENT_PLUGIN } from '../../src/model/agent-kind.js';
import { CA, NodeCA } from '../../src/model/gen/docker/swarmkit/v1/ca_pb.js';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction as Action,
} from '../../src/model/gen/docker/swarmkit/v1/dispatcher_pb.js';
import { NodeSpec_Availability } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  IssuanceStatus_State,
  type NodeDescription,
  NodeDescriptionSchema,
  TaskState,
  type TaskStatus,
  TaskStatusSchema,
} from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { AGENT_VERSION_LABEL } from '../../src/model/labels/keys.js';
import { createLogger } from '../../src/observe/logger.js';
import { systemEnvironment as env } from '../../src/observe/system-environment.js';
import { ClientSession } from '../../src/rpc/client-session.js';
import { newCertificateRequest } from '../../src/rpc/identity/keys.js';
import { ROOT_CA_NAME } from '../../src/rpc/identity/root-ca.js';
import { connectManager, grpcTransport } from '../../src/rpc/manager-connection.js';
import type { IdentitySource, ManagerConnection } from '../../src/rpc/types.js';

/** Brings the agents of the process to so many. */
export interface FleetCommand {
  readonly agents: number;
}

/**
 * Sent when there are so many agents, and when tasks were told to some: how many in all. With nanoseconds
 * of the machine's monotonic clock, as decimal text.
 */
export type FleetAnswer = { readonly atNs: string } & (
  | { readonly kind: 'grown' }
  | { readonly kind: 'told'; readonly tasks: number }
);

/** From being told of a task to telling that it runs. */
const START_MS = 400;
/** Longest pause before a new session. */
const RECONNECT_MS = 10_000;
/** Nodes that join at a time. */
const JOINING_MAX = 12;
/** Times that certificates are asked for. */
const JOIN_ATTEMPTS = 10;
/** Nodes that ask for their certificates on one connection, which lives for a minute at most. */
const JOINING_TOGETHER = 50;
const CALL_TIMEOUT_MS = 30_000;
/** They share two processors with the manager: one that stands still for seconds is no dead one. */
const PING_MS = 30_000;
const GIB = 1024n ** 3n;

const [addr = '', token = '', name = ''] = process.argv.slice(2);
const logger = createLogger({ level: 'error' });

let told = 0;
let isTelling = false;

/** Tasks that come in one turn of the event loop are told of together. */
function countTask(): void {
  told += 1;
  if (isTelling) return;
  isTelling = true;
  const atNs = String(process.hrtime.bigint());
  setImmediate(() => {
    isTelling = false;
    answer({ kind: 'told', tasks: told, atNs });
  });
}

function answer(message: FleetAnswer): void {
  process.send?.(message);
}

/** A node: its session with the manager, kept up for ever, and its tasks, which run as soon as they are told. */
class IdleNode {
  private readonly tasks = new Set<string>();
  private reports: { taskId: string; status: TaskStatus }[] = [];
  /** Ends the wait for something to report: ten thousand nodes cannot look again and again. */
  private hasReports: () => void = () => undefined;
  private isRegistered: () => void = () => undefined;
  /** Resolves with the first registration. */
  readonly registered = new Promise<void>((resolve) => {
    this.isRegistered = resolve;
  });

  constructor(
    private readonly identity: IdentitySource,
    private readonly description: NodeDescription,
  ) {}

  async run(): Promise<never> {
    for (;;) {
      const connection = await connectManager({
        peer: { nodeId: '', addr },
        ...{ identity: this.identity, env },
        ...{ pingIntervalMs: PING_MS, pingTimeoutMs: PING_MS },
      }).catch(() => undefined);
      try {
        if (connection !== undefined) await this.session(connection);
      } catch (error) {
        logger.debug({ error: String(error) }, 'session ended');
      }
      connection?.close();
      await pause(1000 + Math.random() * RECONNECT_MS);
    }
  }

  private async session({ dispatcher }: ManagerConnection): Promise<void> {
    const ended = new AbortController();
    const { signal } = ended;
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    const stream = dispatcher.session({ description: this.description }, { signal });
    const messages = stream[Symbol.asyncIterator]();
    const first = await messages.next();
    if (first.done === true) return;
    const { sessionId } = first.value;
    this.isRegistered();
    const heartbeats = async (): Promise<void> => {
      for (;;) {
        const { period } = await dispatcher.heartbeat({ sessionId }, options);
        await pause(Number(period?.seconds ?? 5n) * 1000 + (period?.nanos ?? 0) / 1e6, undefined, {
          signal,
        });
      }
    };
    const news = async (): Promise<void> => {
      while ((await messages.next()).done !== true);
    };
    const assignments = async (): Promise<void> => {
      for await (const { changes } of dispatcher.assignments({ sessionId }, { signal }))
        for (const change of changes) this.apply(change);
    };
    const states = async (): Promise<void> => {
      for (;;) {
        if (this.reports.length === 0)
          await new Promise<void>((resolve) => {
            this.hasReports = resolve;
          });
        await pause(START_MS, undefined, { signal });
        const updates = this.reports;
        this.reports = [];
        await dispatcher.updateTaskStatus({ sessionId, updates }, options);
      }
    };
    try {
      await Promise.race([heartbeats(), news(), assignments(), states()]);
    } finally {
      ended.abort();
    }
  }

  private apply({ assignment, action }: AssignmentChange): void {
    if (assignment?.item.case !== 'task') return;
    const { id, desiredState } = assignment.item.value;
    if (action === Action.REMOVE) {
      this.tasks.delete(id);
      return;
    }
    const isWanted = desiredState <= TaskState.COMPLETE;
    if (isWanted === this.tasks.has(id)) return;
    if (isWanted) {
      this.tasks.add(id);
      countTask();
    } else this.tasks.delete(id);
    const state = isWanted ? TaskState.RUNNING : TaskState.SHUTDOWN;
    const status = { state, message: 'told', timestamp: timestampFromMs(Date.now()) };
    this.reports.push({ taskId: id, status: create(TaskStatusSchema, status) });
    this.hasReports();
  }
}

function describe(number: number): NodeDescription {
  return create(NodeDescriptionSchema, {
    hostname: `fleet-${name}-${number}`,
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

/** Certificates for so many new nodes; asked for again, as nodes do, when the manager is too busy to answer in time. */
async function obtainCertificates(count: number): Promise<readonly string[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await askForCertificates(count);
    } catch (error) {
      if (attempt === JOIN_ATTEMPTS) throw error;
      await pause(1000 + Math.random() * RECONNECT_MS);
    }
  }
}

async function askForCertificates(count: number): Promise<readonly string[]> {
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
  const source = { current: () => identity, subscribe: () => () => undefined };
  const node = new IdleNode(source, describe(number));
  void node.run();
  await node.registered;
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

process.on('message', (command: FleetCommand) => {
  grow(command.agents).then(
    () => answer({ kind: 'grown', atNs: String(process.hrtime.bigint()) }),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
