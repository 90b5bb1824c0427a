/**
 * Our own gossip threads among each other, over real sockets: convergence, failure, key rotation,
 * and what a blocked event loop must not cause.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { startGossip } from '../../../src/native/gossip.js';
import type { GossipOptions } from '../../../src/native/gossip-types.js';
import { freshAddress, KEYS, optionsFor, Peer, sleep, until } from './ring.js';

/** A ring of that many, each on "net" with one entry, converged. */
async function ring(
  test: Test,
  size: number,
  overrides: Partial<GossipOptions> = {},
): Promise<Peer[]> {
  const peers: Peer[] = [];
  test.teardown(() => {
    for (const peer of peers) peer.gossip.close();
  });
  for (let i = 0; i < size; i++) peers.push(new Peer(`node${i}`, overrides));
  const [first] = peers as [Peer];
  for (const peer of peers) {
    if (peer !== first) test.equal(await peer.gossip.join([first.address]), 1);
    peer.gossip.joinNetwork('net');
    peer.gossip.putEntry('net', 'endpoints', peer.address, Buffer.from(peer.address));
  }
  await until('convergence', () => peers.every(({ tables }) => tables.size === size - 1));
  return peers;
}

async function forkMember(test: Test, name: string, seed: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('./member-process.js', import.meta.url));
  const child = fork(script, [name, freshAddress(), seed, 'theirs']);
  test.teardown(() => child.kill('SIGKILL'));
  await once(child, 'message');
  return child;
}

void t.test('entries are spread, changed and deleted', async (test) => {
  const [a, b, c] = (await ring(test, 3)) as [Peer, Peer, Peer];
  test.equal(b.value('net', 'endpoints', a.address), a.address);
  a.gossip.putEntry('net', 'endpoints', a.address, Buffer.from('changed'));
  await until('change', () => c.value('net', 'endpoints', a.address) === 'changed');
  a.gossip.deleteEntry('net', 'endpoints', a.address);
  await until('deletion', () => c.value('net', 'endpoints', a.address) === undefined);
  const removal = c.events.findLast(({ type }) => type === 'entry-removed');
  test.match(removal, { owner: 'node0', reason: 'deleted', key: a.address });
  test.notOk(
    a.events.some((event) => event.type === 'entry' && event.owner === 'node0'),
    'own entries are not echoed',
  );
});

void t.test(
  'a killed member fails and its entries go; it comes back under its name',
  async (test) => {
    const [a, b] = (await ring(test, 2)) as [Peer, Peer];
    const child = await forkMember(test, 'victim', a.address);
    await until('entry', () =>
      [a, b].every((p) => p.value('net', 'endpoints', 'theirs') === 'victim'),
    );
    child.kill('SIGKILL');
    await until('failure', () => [a, b].every((peer) => peer.stateOf('victim') === 'failed'));
    await until('removal', () => [a, b].every((p) => !p.value('net', 'endpoints', 'theirs')));
    test.match(
      a.events.find(({ type }) => type === 'entry-removed'),
      { key: 'theirs', owner: 'victim', reason: 'owner-failed' },
    );
    await forkMember(test, 'victim', b.address);
    await until('return', () =>
      [a, b].every((p) => p.value('net', 'endpoints', 'theirs') === 'victim'),
    );
    test.equal(a.stateOf('victim'), 'alive');
  },
);

void t.test('a quick restart under the same name loses nothing that still holds', async (test) => {
  const [a, b] = (await ring(test, 2)) as [Peer, Peer];
  const child = await forkMember(test, 'phoenix', a.address);
  await until('entry', () => b.value('net', 'endpoints', 'theirs') === 'phoenix');
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  const again = new Peer('phoenix', { profile: 'fast' });
  test.teardown(() => again.gossip.close());
  again.gossip.joinNetwork('net');
  await again.gossip.join([a.address]);
  again.gossip.putEntry('net', 'endpoints', 'theirs', Buffer.from('second life'));
  await until('new value', () => b.value('net', 'endpoints', 'theirs') === 'second life');
});

void t.test('a farewell is no failure', async (test) => {
  const [a, b, c] = (await ring(test, 3)) as [Peer, Peer, Peer];
  await c.gossip.leave(5000);
  await until('farewell', () => [a, b].every((peer) => peer.stateOf('node2') === 'left'));
  await until('removal', () => [a, b].every(({ tables }) => tables.size === 1));
  test.match(
    a.events.find(({ type }) => type === 'entry-removed'),
    { owner: 'node2', reason: 'owner-left' },
  );
  test.equal(a.gossip.counters().suspicions, 0);
});

void t.test('a change is confirmed by all who have it in force', async (test) => {
  const [a, b, c] = (await ring(test, 3)) as [Peer, Peer, Peer];
  a.gossip.putEntry('net', 'endpoints', a.address, Buffer.from('draining'));
  const beganMs = performance.now();
  test.equal(await a.gossip.spread(['net']), 0);
  const tookMs = performance.now() - beganMs;
  test.ok(tookMs < 300, `confirmed after ${tookMs.toFixed(0)} ms`);
  for (const peer of [b, c]) test.equal(peer.value('net', 'endpoints', a.address), 'draining');
  c.acknowledges = false;
  a.gossip.deleteEntry('net', 'endpoints', a.address);
  const againMs = performance.now();
  test.equal(await a.gossip.spread(['net']), 1, 'one has not confirmed');
  test.ok(performance.now() - againMs >= 1900);
  test.equal(await b.gossip.spread(['nowhere']), 0);
  test.notOk(
    c.events.some((event) => event.type === 'entry' && event.table.startsWith('skep_')),
    'digests and confirmations stay below',
  );
});

void t.test('a blocked event loop makes no suspect', async (test) => {
  const peers = await ring(test, 3);
  // Five times what it takes to declare a silent member dead.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
  await sleep(50);
  for (const { gossip, events } of peers) {
    test.equal(gossip.counters().suspicions, 0);
    test.notOk(events.some((e) => e.type === 'member' && e.member.state !== 'alive'));
  }
});

void t.test('keys rotate node by node', async (test) => {
  const peers = await ring(test, 3);
  const [a, b] = peers as [Peer, Peer];
  const rotated = [...KEYS.slice(1), new Uint8Array(16).fill(4)];
  for (const { gossip } of peers) {
    gossip.setKeys(rotated);
    await sleep(300);
  }
  a.gossip.putEntry('net', 'endpoints', 'rotated', Buffer.from('yes'));
  await until('entry under new keys', () => b.value('net', 'endpoints', 'rotated') === 'yes');
  for (const { gossip } of peers) test.equal(gossip.counters().droppedUndecryptable, 0);
});

void t.test('without the keys there is no way in', async (test) => {
  const [a] = (await ring(test, 1)) as [Peer];
  const stranger = new Peer('stranger', { keys: [new Uint8Array(16).fill(9)] });
  const plain = new Peer('plain', { keys: [] });
  test.teardown(() => {
    stranger.gossip.close();
    plain.gossip.close();
  });
  test.equal(await stranger.gossip.join([a.address]), 0);
  test.equal(await plain.gossip.join([a.address]), 0);
  test.equal(a.gossip.members().length, 1);
  const { droppedUndecryptable = 0, droppedPlaintext = 0 } = a.gossip.counters();
  test.ok(droppedUndecryptable > 0 && droppedPlaintext > 0);
});

void t.test('leaving a network ends its events', async (test) => {
  const [a, b] = (await ring(test, 2)) as [Peer, Peer];
  b.gossip.leaveNetwork('net');
  await until('removal at the other', () => a.tables.size === 0);
  test.match(
    a.events.find(({ type }) => type === 'entry-removed'),
    { owner: 'node1', reason: 'owner-left-network' },
  );
  const told = b.events.length;
  a.gossip.putEntry('net', 'endpoints', 'unheard', Buffer.from('x'));
  await sleep(300);
  test.equal(b.events.length, told);
  b.gossip.joinNetwork('net');
  await until('entries again', () => b.value('net', 'endpoints', 'unheard') === 'x');
});

void t.test('arguments and addresses are checked', async (test) => {
  const [a] = (await ring(test, 1)) as [Peer];
  const again = () => startGossip(optionsFor('again', a.address), () => undefined);
  test.throws(again, { code: 'EADDRINUSE', syscall: 'bind' });
  const nowhere = () => startGossip(optionsFor('x', '192.0.2.1'), () => undefined);
  test.throws(nowhere, { code: 'EADDRNOTAVAIL' });
  const bad = { code: 'invalid_argument' };
  test.throws(() => startGossip(optionsFor('', freshAddress()), () => undefined), bad);
  const short = { keys: [new Uint8Array(15)] };
  test.throws(() => startGossip(optionsFor('x', freshAddress(), short), () => undefined), bad);
  test.throws(() => a.gossip.putEntry('net', 't', 'k', new Uint8Array(1025)), bad);
  test.throws(() => a.gossip.putEntry('net', 't', 'k'.repeat(129), new Uint8Array(1)), bad);
  test.throws(() => a.gossip.joinNetwork(''), bad);
  const elsewhere = () => a.gossip.putEntry('elsewhere', 't', 'k', new Uint8Array(1));
  test.throws(elsewhere, { code: 'failed_precondition' });
  test.equal(await a.gossip.join([`${freshAddress()}:1`]), 0, 'nobody there');
  test.equal(await a.gossip.join([]), 0);
});

void t.test('closing is final, idempotent and settles what waits', async (test) => {
  const peer = new Peer('closing');
  peer.gossip.joinNetwork('net');
  const joining = peer.gossip.join([freshAddress()]);
  peer.gossip.close();
  peer.gossip.close();
  test.equal(await joining, 0);
  peer.gossip.putEntry('net', 't', 'k', new Uint8Array(1));
  await peer.gossip.leave(100);
  test.same(peer.gossip.members(), []);
});
