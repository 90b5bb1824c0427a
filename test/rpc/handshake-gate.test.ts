/** The gate before handshakes, with real connections from several loopback addresses, under a virtual clock. */
import net from 'node:net';
import t from 'tap';
import { HandshakeGate } from '../../src/rpc/handshake-gate.js';
import { HANDSHAKE_TURN_MS } from '../../src/rpc/limits.js';
import { SimulatedClock } from '../support/simulated-environment.js';
import { until } from './until.js';

/** Fewer than skepd's, lest the listening socket's own queue of connections be full. */
const HANDSHAKES_MAX = 16;
const HANDSHAKES_WAITING_MAX = 100;

/** The part of a test that helpers need. */
interface Scope {
  teardown(end: () => unknown): unknown;
}

class World {
  readonly clock = new SimulatedClock();
  /** Connections whose turn has begun, in order. */
  readonly begun: net.Socket[] = [];
  readonly gate = new HandshakeGate<net.Socket>(this.clock, (socket) => this.begun.push(socket), {
    shaking: HANDSHAKES_MAX,
    waiting: HANDSHAKES_WAITING_MAX,
  });
  private readonly server = net.createServer((socket) => {
    this.accepted += 1;
    this.gate.enter(socket);
  });
  private accepted = 0;
  private readonly clients: net.Socket[] = [];

  async start(t: Scope): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '0.0.0.0', resolve));
    t.teardown(() => {
      for (const socket of [...this.clients, ...this.begun]) socket.destroy();
      this.gate.stop();
      this.server.close();
    });
  }

  /** Connects so often from an address, and waits until the gate was told. */
  async connect(localAddress: string, count: number): Promise<net.Socket[]> {
    const { port } = this.server.address() as net.AddressInfo;
    const wanted = this.accepted + count;
    const sockets = Array.from({ length: count }, () => {
      const socket = net.connect({ host: '127.0.0.1', port, localAddress });
      socket.on('error', () => undefined);
      return socket;
    });
    this.clients.push(...sockets);
    await until('the connections', () => this.accepted === wanted);
    return sockets;
  }

  /** Addresses of the turns that began after the first so many. */
  addressesFrom(index: number): (string | undefined)[] {
    return this.begun.slice(index).map(({ remoteAddress }) => remoteAddress);
  }
}

async function world(t: Scope): Promise<World> {
  const made = new World();
  await made.start(t);
  return made;
}

void t.test('few shake hands at a time, and no address holds up another', async (t) => {
  const w = await world(t);
  await w.connect('127.0.0.1', HANDSHAKES_MAX + 20);
  await w.connect('127.0.0.2', 2);
  t.same(w.gate.load, { shaking: HANDSHAKES_MAX, waiting: 22 });
  const over = w.begun.slice(0, 4);
  for (const socket of over) w.gate.leave(socket);
  t.same(
    w.addressesFrom(HANDSHAKES_MAX),
    ['127.0.0.1', '127.0.0.2', '127.0.0.1', '127.0.0.2'],
    'addresses take turns',
  );
  for (const socket of over) w.gate.leave(socket);
  t.equal(w.gate.load.shaking, HANDSHAKES_MAX, 'a turn ends once');
  w.begun.at(-1)?.destroy();
  await until('the next turn', () => w.gate.load.waiting === 17);
  t.equal(w.gate.load.shaking, HANDSHAKES_MAX, 'who hangs up gives its turn away');
});

void t.test('connections that say nothing lose their turn', async (t) => {
  const w = await world(t);
  await w.connect('127.0.0.1', HANDSHAKES_MAX + 5);
  w.clock.advance(HANDSHAKE_TURN_MS - 1);
  t.equal(w.begun.length, HANDSHAKES_MAX);
  w.clock.advance(1);
  t.equal(w.begun.length, HANDSHAKES_MAX + 5);
  t.notOk(w.begun[0]?.destroyed, 'but not their connection');
  w.clock.advance(HANDSHAKE_TURN_MS);
  t.same(w.gate.load, { shaking: 0, waiting: 0 });
  t.equal(w.clock.pendingTimers, 0);
});

void t.test('more than can be served soon are refused at once', async (t) => {
  const w = await world(t);
  const crowd = await w.connect('127.0.0.1', HANDSHAKES_MAX + HANDSHAKES_WAITING_MAX);
  const [late] = await w.connect('127.0.0.1', 1);
  await until('the refusal', () => late?.destroyed);
  t.equal(w.gate.load.waiting, HANDSHAKES_WAITING_MAX);
  const [other] = await w.connect('127.0.0.2', 1);
  t.equal(w.gate.load.waiting, HANDSHAKES_WAITING_MAX);
  await until('room', () => crowd.some((socket) => socket.destroyed));
  t.equal(crowd.filter((socket) => socket.destroyed).length, 1, 'one of the crowd makes room');
  for (const socket of w.begun.slice(0, 2)) w.gate.leave(socket);
  t.same(w.addressesFrom(HANDSHAKES_MAX), ['127.0.0.1', '127.0.0.2']);
  t.notOk(other?.destroyed);
  const left = w.gate.load.waiting;
  for (const socket of crowd.slice(-10)) socket.resetAndDestroy();
  await until('the waiting to be forgotten', () => w.gate.load.waiting < left - 5);
  t.ok(w.gate.load.waiting < left, 'who hangs up while it waits is forgotten');
});
