/**
 * Bytes from strangers on both sockets of a running thread: it refuses, counts, and goes on.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { Peer, PORT, sleep, until } from './ring.js';

/** Deterministic bytes, so that a failure can be repeated. */
function* noise(): Generator<number, never> {
  let state = 12345;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 24;
  }
}

const source = noise();

function randomBytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => source.next().value));
}

/** Beginnings that lead a decoder as deep as possible. */
const PREFIXES = ['', '00', '04', '06', '07ff', '0803', '09', '0a0000', '0c', 'f404'].map((hex) =>
  Buffer.from(hex, 'hex'),
);

async function open(test: Test, address: string): Promise<Socket> {
  const socket = connect(PORT, address);
  socket.on('error', () => undefined);
  test.teardown(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

for (const keys of [[], [new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)]]) {
  const kind = keys.length === 0 ? 'plain' : 'encrypted';
  void t.test(`${kind}: random packets and streams`, async (test) => {
    const a = new Peer('a', { keys });
    const b = new Peer('b', { keys });
    const udp = createSocket('udp4');
    test.teardown(() => {
      a.gossip.close();
      b.gossip.close();
      udp.close();
    });
    for (let round = 0; round < 2000; round++) {
      const prefix = PREFIXES[round % PREFIXES.length] ?? Buffer.alloc(0);
      const packet = Buffer.concat([prefix, randomBytes(round % 97)]);
      await new Promise((resolve) => {
        udp.send(packet, PORT, a.address, resolve);
      });
    }
    for (let round = 0; round < 60; round++) {
      const socket = await open(test, a.address);
      const prefix = PREFIXES[round % PREFIXES.length] ?? Buffer.alloc(0);
      socket.end(Buffer.concat([prefix, randomBytes(round * 7)]));
      socket.resume();
      await once(socket, 'close');
    }
    test.equal(await b.gossip.join([a.address]), 1, 'still takes members in');
    a.gossip.joinNetwork('net');
    b.gossip.joinNetwork('net');
    a.gossip.putEntry('net', 't', 'k', Buffer.from('v'));
    await until('entry', () => b.value('net', 't', 'k') === 'v');
    const dropped = Object.entries(a.gossip.counters())
      .filter(([name]) => name.startsWith('dropped'))
      .reduce((sum, [, count]) => sum + count, 0);
    test.ok(dropped >= 1000, `${dropped} drops counted`);
  });
}

void t.test('idle and oversized streams are bounded', async (test) => {
  const a = new Peer('a');
  test.teardown(() => a.gossip.close());
  const huge = await open(test, a.address);
  huge.write(Buffer.from('0affffffff', 'hex'));
  huge.resume();
  await once(huge, 'close');
  test.equal(a.gossip.counters().droppedOversize, 1);
  // One address may hold only so many; the rest is refused at once, and all time out.
  const idle = await Promise.all(Array.from({ length: 40 }, () => open(test, a.address)));
  await until('refusals', () => (a.gossip.counters().droppedStreamsBusy ?? 0) >= 16);
  const b = new Peer('b');
  test.teardown(() => b.gossip.close());
  for (const socket of idle) socket.destroy();
  await sleep(50);
  test.equal(await b.gossip.join([a.address]), 1);
});
