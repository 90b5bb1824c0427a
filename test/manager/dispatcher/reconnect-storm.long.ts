/**
 * Ten thousand nodes whose manager stands still, or is followed by a new one, in virtual time: the real
 * dispatcher, gate and backoff; a handshake takes 4 ms of the manager's one processor, in two steps, between
 * which others have theirs. Gossip knows none of the nodes, which is the worst case.
 */
import { EventEmitter } from 'node:events';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import t from 'tap';
import { RPC_TIMEOUT_MS } from '../../../src/agent/limits.js';
import { SessionBackoff } from '../../../src/agent/session-backoff.js';
import { Dispatcher } from '../../../src/manager/dispatcher/dispatcher.js';
import { AGENT_PLUGIN } from '../../../src/model/agent-kind.js';
import type { Clock, Timer } from '../../../src/model/environment.js';
import { ClusterSchema, NodeSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  NodeDescriptionSchema,
  NodeStatus_State,
} from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { AGENT_VERSION_LABEL, RECONNECT_SPREAD_LABEL } from '../../../src/model/labels/keys.js';
import { parseReconnectSpread } from '../../../src/model/reconnect.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { HandshakeGate } from '../../../src/rpc/handshake-gate.js';
import { CLIENT_CONNECT_TIMEOUT_MS, CLIENT_HANDSHAKE_TIMEOUT_MS } from '../../../src/rpc/limits.js';
import { createLocalStore, type MemoryStore } from '../../../src/store/memory-store.js';
import {
  settlePromises,
  type SimulatedEnvironment,
  simulatedEnvironment,
} from '../../support/simulated-environment.js';

const NODES = 10_000;
const HANDSHAKE_STEP_MS = 2;
/** Connections that the kernel keeps for a process that does not accept them (Node's backlog). */
const BACKLOG = 511;
const TICK_MS = 10;
/** Of a test: minutes of ten thousand nodes take a while on a busy machine. */
const LIMIT = { timeout: 900_000 };

/** A clock of a process that can be halted: timers that fall due meanwhile fire when it runs again. */
class HaltableClock implements Clock {
  private backlog: (() => void)[] | undefined;

  constructor(private readonly world: Clock) {}

  get isHalted(): boolean {
    return this.backlog !== undefined;
  }

  nowMs(): number {
    return this.world.nowMs();
  }

  monotonicMs(): number {
    return this.world.monotonicMs();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false;
    const fire = (): void => {
      if (!isCancelled) callback();
    };
    const timer = this.world.setTimer(delayMs, () => {
      if (this.backlog === undefined) fire();
      else this.backlog.push(fire);
    });
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  halt(): void {
    this.backlog = [];
  }

  resume(): void {
    const due = this.backlog ?? [];
    this.backlog = undefined;
    for (const fire of due) fire();
  }
}

/** A connection of a node, as the manager accepts it. */
class Call extends EventEmitter {
  destroyed = false;
  readonly remotePort = 1;
  onUp: () => void = () => undefined;

  constructor(readonly remoteAddress: string) {
    super();
  }

  destroy(): this {
    if (this.destroyed) return this;
    this.destroyed = true;
    this.emit('close');
    return this;
  }

  resetAndDestroy(): this {
    return this.destroy();
  }
}

/** The manager's process: what it accepts, and its one processor. */
class Manager {
  readonly clock: HaltableClock;
  dispatcher: Dispatcher | undefined;
  private backlog: Call[] = [];
  private readonly steps: { readonly call: Call; readonly isLast: boolean }[] = [];
  private readonly gate: HandshakeGate<Call>;

  constructor(
    private readonly env: SimulatedEnvironment,
    private readonly store: MemoryStore,
  ) {
    this.clock = new HaltableClock(env.clock);
    this.gate = new HandshakeGate(this.clock, (call) => {
      this.steps.push({ call, isLast: false });
    });
    this.work();
  }

  async lead(): Promise<void> {
    const { store, clock } = this;
    this.dispatcher = new Dispatcher({
      ...{ store, logger: silentLogger, clusterId: 'cluster' },
      env: { clock, random: this.env.random },
      self: { nodeId: 'manager', addr: '10.0.0.1:2377' },
    });
    await this.dispatcher.start();
  }

  /** Whether the kernel takes the connection. */
  call(call: Call): boolean {
    if (!this.clock.isHalted) this.gate.enter(call);
    else if (this.backlog.length >= BACKLOG) return false;
    else this.backlog.push(call);
    return true;
  }

  resume(): void {
    this.clock.resume();
    for (const call of this.backlog.splice(0)) this.gate.enter(call);
  }

  private work(): void {
    const step = this.steps.shift();
    if (step?.isLast === true) {
      this.gate.leave(step.call);
      if (!step.call.destroyed) step.call.onUp();
    } else if (step !== undefined) this.steps.push({ ...step, isLast: true });
    this.clock.setTimer(HANDSHAKE_STEP_MS, () => this.work());
  }
}

/** An agent of ours, as far as its sessions go. */
class Agent {
  private readonly backoff: SessionBackoff;
  private spreadMs = 0;
  private session: AbortController | undefined;
  calls = 0;

  constructor(
    readonly id: string,
    private readonly env: SimulatedEnvironment,
    private readonly manager: Manager,
  ) {
    this.backoff = new SessionBackoff(env.random);
  }

  call(): void {
    this.calls += 1;
    const call = new Call(this.id);
    const isTaken = this.manager.call(call);
    const patienceMs = isTaken ? CLIENT_HANDSHAKE_TIMEOUT_MS : CLIENT_CONNECT_TIMEOUT_MS;
    const end = (): void => {
      patience.cancel();
      call.destroy();
      this.again();
    };
    const patience = this.env.clock.setTimer(patienceMs, end);
    if (call.destroyed) end();
    else call.once('close', end);
    call.onUp = () => {
      patience.cancel();
      call.off('close', end);
      this.register().catch(() => this.again());
    };
  }

  /** The connection breaks. */
  lose(): void {
    this.session?.abort();
    this.session = undefined;
    this.again();
  }

  private again(): void {
    this.env.clock.setTimer(this.backoff.nextMs(this.spreadMs), () => this.call());
  }

  private async register(): Promise<void> {
    const { dispatcher } = this.manager;
    if (dispatcher === undefined) throw new Error('nobody leads');
    const session = new AbortController();
    const engine = { labels: { [AGENT_VERSION_LABEL]: '1' }, plugins: [AGENT_PLUGIN] };
    const description = create(NodeDescriptionSchema, { hostname: this.id, engine });
    const request = { sessionId: '', description };
    const first = await dispatcher.session(this.id, this.id, request, session.signal).next();
    if (first.done === true) throw new Error('no session');
    this.backoff.reset();
    const { sessionId, node } = first.value;
    this.spreadMs = parseReconnectSpread(node?.spec?.annotations?.labels[RECONNECT_SPREAD_LABEL]);
    this.session = session;
    this.heartbeat(sessionId, session);
  }

  private heartbeat(sessionId: string, session: AbortController): void {
    if (this.session !== session) return;
    const { clock } = this.env;
    if (this.manager.clock.isHalted) {
      clock.setTimer(RPC_TIMEOUT_MS, () => this.session === session && this.lose());
      return;
    }
    try {
      const { period } = this.manager.dispatcher?.heartbeat(this.id, sessionId) ?? {};
      const periodMs = Number(period?.seconds ?? 5n) * 1000 + (period?.nanos ?? 0) / 1e6;
      clock.setTimer(periodMs, () => this.heartbeat(sessionId, session));
    } catch {
      this.lose();
    }
  }
}

class Swarm {
  readonly env = simulatedEnvironment(29);
  readonly store = createLocalStore(this.env).store;
  readonly manager = new Manager(this.env, this.store);
  readonly agents = Array.from(
    { length: NODES },
    (_, index) => new Agent(`n${index}`, this.env, this.manager),
  );
  /** Nodes that were down at any time. */
  readonly down = new Set<string>();

  async start(): Promise<void> {
    const heartbeatPeriod = durationFromMs(5000);
    await this.store.update((write) => {
      const spec = { annotations: { name: 'default' }, dispatcher: { heartbeatPeriod } };
      write.create('cluster', create(ClusterSchema, { id: 'cluster', spec }));
      for (const { id } of this.agents) write.create('node', create(NodeSchema, { id, spec: {} }));
    });
    this.store.viewAndSubscribe(
      () => undefined,
      (events) => {
        for (const event of events)
          if (event.table === 'node' && event.object.status?.state === NodeStatus_State.DOWN)
            this.down.add(event.object.id);
      },
    );
    await this.manager.lead();
    for (const agent of this.agents)
      this.env.clock.setTimer(this.env.random.next() * 60_000, () => agent.call());
    await this.run(90_000);
  }

  async run(durationMs: number): Promise<void> {
    for (let leftMs = durationMs; leftMs > 0; leftMs -= TICK_MS) {
      this.env.clock.advance(TICK_MS);
      await settlePromises();
    }
  }

  get ready(): number {
    const nodes = this.store.view((read) => read.find('node', { by: 'all' }));
    return nodes.filter(({ status }) => status?.state === NodeStatus_State.READY).length;
  }

  get calls(): number {
    return this.agents.reduce((sum, { calls }) => sum + calls, 0);
  }
}

void t.test(
  'a manager that stood still for 20 s gets all its nodes back, and calls none down',
  LIMIT,
  async (t) => {
    const swarm = new Swarm();
    await swarm.start();
    t.equal(swarm.ready, NODES);
    t.equal(swarm.down.size, 0, 'before it');
    const before = swarm.calls;
    swarm.manager.clock.halt();
    await swarm.run(20_000);
    swarm.manager.resume();
    await swarm.run(180_000);
    t.equal(swarm.down.size, 0);
    t.equal(swarm.ready, NODES);
    t.comment(`${(swarm.calls - before) / NODES} calls a node`);
    t.ok(swarm.calls - before < 5 * NODES, 'few calls are in vain');
  },
);

void t.test('nodes of a new leader that all lost at once are waited for', LIMIT, async (t) => {
  const swarm = new Swarm();
  await swarm.start();
  const before = swarm.calls;
  await swarm.manager.dispatcher?.stop();
  await swarm.manager.lead();
  for (const agent of swarm.agents) agent.lose();
  let backAfterMs = 0;
  for (; backAfterMs < 180_000 && swarm.ready < NODES; backAfterMs += 1000) await swarm.run(1000);
  t.equal(swarm.down.size, 0);
  t.equal(swarm.ready, NODES);
  t.comment(`all back after ${backAfterMs} ms, ${(swarm.calls - before) / NODES} calls a node`);
});
