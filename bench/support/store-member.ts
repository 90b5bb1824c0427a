/**
 * A program: one manager's store with its raft member, log and TLS streams to the others, and
 * nothing else of a manager. Does what the bench that forked it orders, one order after the other.
 */
import { create } from '@bufbuild/protobuf';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Task, TaskSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { RAFT_PROTOCOL } from '../../src/rpc/raft/limits.js';
import { ManagerTransport } from '../../src/rpc/raft/raft-transport.js';
import { RpcServer } from '../../src/rpc/server.js';
import type { TlsIdentity } from '../../src/rpc/types.js';
import type { RaftMember } from '../../src/store/members.js';
import {
  bootstrapRaft,
  newRaftId,
  openRaft,
  prepareRaftMember,
  raftStateExists,
} from '../../src/store/raft-cluster.js';
import type { RaftNode } from '../../src/store/raft-node.js';
import { encodeSnapshot } from '../../src/store/store-snapshot.js';
import { type LatencySummary, summaryOf } from './latencies.js';

/** Orders, each answered by the message of its kind in {@link MemberAnswers}. */
export type MemberOrder =
  | {
      readonly kind: 'start';
      readonly directory: string;
      readonly nodeId: string;
      readonly identity: TlsIdentity;
      /** Begins a cluster, or is to be added to one; when there is no state yet. */
      readonly as: 'founder' | 'joiner';
    }
  | { readonly kind: 'add'; readonly member: RaftMember }
  | { readonly kind: 'fill'; readonly tasks: number }
  | { readonly kind: 'write'; readonly writers: number; readonly seconds: number }
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'memory' }
  | { readonly kind: 'close' };

/** What each order is answered with. */
export interface MemberAnswers {
  start: { readonly member: RaftMember; readonly openMs: number };
  add: Record<string, never>;
  fill: { readonly tookMs: number };
  write: LatencySummary & { readonly cpuUs: number };
  snapshot: { readonly tookMs: number; readonly bytes: number; readonly heldMs: number };
  memory: { readonly heapBytes: number; readonly residentBytes: number };
  close: Record<string, never>;
}

const KEYS = [{ keyId: 1, key: new Uint8Array(32).fill(5) }];
const WARM_UP_MS = 1_000;
const WRITTEN_TASKS = 1_000;

/** A task as a small service's: name, image, environment, one network, a status. */
function taskOf(at: number): Task {
  return create(TaskSchema, {
    id: `t${String(at).padStart(24, '0')}`,
    serviceId: `s${String(at >> 4).padStart(24, '0')}`,
    nodeId: `n${String(at % 10).padStart(24, '0')}`,
    slot: BigInt(at),
    serviceAnnotations: { name: `service-${at >> 4}`, labels: { 'com.example.team': 'bench' } },
    spec: {
      runtime: {
        case: 'container',
        value: {
          image: 'registry.example.com/team/application:1.2.3',
          env: ['LOG_LEVEL=info', 'PORT=8080', 'DATABASE=postgres://db.internal/application'],
        },
      },
    },
    networks: [{ network: { id: 'net1' }, addresses: ['10.0.1.7/24'] }],
    desiredState: TaskState.RUNNING,
    status: { state: TaskState.RUNNING, message: 'started' },
  });
}

let raft: RaftNode | undefined;
let stop: () => Promise<void> = async () => {};

async function start(
  order: Extract<MemberOrder, { kind: 'start' }>,
): Promise<MemberAnswers['start']> {
  const { directory, nodeId, identity, as } = order;
  const environment = systemEnvironment;
  const source = { current: () => identity, subscribe: () => () => {} };
  const self = { raftId: 0, nodeId, address: '' };
  const logger = silentLogger;
  const transport = new ManagerTransport({ identity: source, environment, logger, self });
  const server = new RpcServer({
    identity: source,
    routes: () => {},
    env: environment,
    logger,
    protocols: new Map([[RAFT_PROTOCOL, transport.accept]]),
  });
  const { port } = await server.listen('127.0.0.1', 0);
  self.address = `127.0.0.1:${port}`;
  const storage = { directory, keys: KEYS };
  if (!raftStateExists(directory)) {
    if (as === 'joiner') await prepareRaftMember(storage, newRaftId(environment));
    else await bootstrapRaft({ ...storage, environment, nodeId, address: self.address });
  }
  const startedMs = performance.now();
  const onFatal = (error: Error): never => {
    throw error;
  };
  const node = await openRaft({ ...storage, environment, logger, transport, onFatal });
  const openMs = performance.now() - startedMs;
  self.raftId = node.status().id;
  transport.bind(node, () => true);
  stop = async () => {
    await node.close();
    transport.stop();
    await server.stop();
  };
  raft = node;
  if (as === 'founder') await node.readBarrier();
  return { member: { ...self }, openMs };
}

function running(): RaftNode {
  if (raft === undefined) throw new Error('not started');
  return raft;
}

async function fill(tasks: number): Promise<MemberAnswers['fill']> {
  const { store } = running();
  const startedMs = performance.now();
  const from = store.count('task');
  const numbers = Array.from({ length: tasks }, (_, at) => from + at);
  const outcomes = await store.batch(numbers.map((at) => (tx) => tx.create('task', taskOf(at))));
  const failure = outcomes.find((error) => error !== undefined);
  if (failure !== undefined) throw failure;
  return { tookMs: performance.now() - startedMs };
}

/** Each writer changes the status of a task, waits until that is stored, and goes on. */
async function write(writers: number, seconds: number): Promise<MemberAnswers['write']> {
  const { store } = running();
  if (store.count('task') < WRITTEN_TASKS) await fill(WRITTEN_TASKS);
  const ids = Array.from({ length: WRITTEN_TASKS }, (_, at) => taskOf(at).id);
  const took: number[] = [];
  const fromMs = performance.now() + WARM_UP_MS;
  const endMs = fromMs + seconds * 1000;
  let next = 0;
  let cpu: NodeJS.CpuUsage | undefined;
  const writer = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs; ) {
      const id = ids[next++ % ids.length] ?? '';
      await store.update((tx) => {
        const stored = tx.get('task', id);
        if (stored?.status === undefined) throw new Error(`no task ${id}`);
        const status = { ...stored.status, message: `started ${next}` };
        tx.update('task', { ...stored, status });
      });
      const doneMs = performance.now();
      if (nowMs >= fromMs) {
        cpu ??= process.cpuUsage();
        took.push(doneMs - nowMs);
      }
      nowMs = doneMs;
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const used = process.cpuUsage(cpu);
  const cpuUs = (used.user + used.system) / took.length;
  return { ...summaryOf(took, performance.now() - fromMs), cpuUs };
}

/** Encodes the store as a snapshot does; `heldMs` is the longest the event loop was held. */
async function snapshot(): Promise<MemberAnswers['snapshot']> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startedMs = performance.now();
  const bytes = (await encodeSnapshot(running().store.capture())).length;
  const tookMs = performance.now() - startedMs;
  delay.disable();
  return { tookMs, bytes, heldMs: delay.max / 1e6 };
}

function memory(): MemberAnswers['memory'] {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round++) collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss };
}

async function execute(order: MemberOrder): Promise<MemberAnswers[MemberOrder['kind']]> {
  switch (order.kind) {
    case 'start':
      return start(order);
    case 'add':
      await running().addMember(order.member);
      return {};
    case 'fill':
      return fill(order.tasks);
    case 'write':
      return write(order.writers, order.seconds);
    case 'snapshot':
      return snapshot();
    case 'memory':
      return memory();
    case 'close':
      await stop();
      return {};
  }
}

process.on('message', (order: MemberOrder) => {
  execute(order).then(
    (answer) => process.send?.({ answer }, () => order.kind === 'close' && process.exit(0)),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
