/** Addresses that no container has are given back, in virtual time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { SkepError } from '../../src/model/errors.js';
import { LeaseSweeper } from '../../src/network/lease-sweeper.js';
import { LEASE_IDLE_MS } from '../../src/network/limits.js';
import { LocalState, placeKey } from '../../src/network/local-state.js';
import { silentLogger } from '../../src/observe/logger.js';
import { SimulatedClock } from '../support/simulated-environment.js';

const ENDPOINT = {
  ...{ id: 'ab'.repeat(32), networkId: 'lab', vni: 4097, address: '10.0.3.2', prefixLength: 24 },
  ...{ mac: '02:42:0a:00:03:02', defaultRoute: false },
};

/** A node that holds two leases, the first one for an endpoint; `refusal` is what managers say. */
async function setUp(t: Test) {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-leases-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const state = new LocalState(path.join(directory, 'network.json'));
  for (const address of ['10.0.3.2', '10.0.3.3'])
    state.leases.set(placeKey('lab', address), {
      ...{ networkId: 'lab', address, attachmentId: `a${address}` },
    });
  state.endpoints.set(ENDPOINT.id, ENDPOINT);
  const clock = new SimulatedClock();
  const manager = { detached: [] as string[], refusal: undefined as SkepError | undefined };
  const attachments = {
    detach: (id: string) => {
      if (manager.refusal !== undefined) return Promise.reject(manager.refusal);
      manager.detached.push(id);
      return Promise.resolve();
    },
  };
  const sweeper = new LeaseSweeper({ state, attachments, clock, logger: silentLogger });
  const later = async () => {
    await sweeper.sweep();
    clock.advance(LEASE_IDLE_MS);
    await sweeper.sweep();
  };
  return { state, clock, manager, sweeper, later };
}

void t.test('one that no endpoint has for long is given back, the others stay', async (t) => {
  const { state, clock, manager, sweeper } = await setUp(t);
  await sweeper.sweep();
  clock.advance(LEASE_IDLE_MS - 1);
  await sweeper.sweep();
  t.strictSame(manager.detached, [], 'the engine may be about to make the endpoint');
  clock.advance(1);
  await sweeper.sweep();
  t.strictSame(manager.detached, ['a10.0.3.3']);
  t.strictSame([...state.leases.keys()], [placeKey('lab', '10.0.3.2')]);
  state.endpoints.clear();
  await sweeper.sweep();
  t.equal(manager.detached.length, 1, 'its time begins when its endpoint has gone');
});

void t.test('time without an endpoint does not add up', async (t) => {
  const { state, clock, manager, sweeper } = await setUp(t);
  await sweeper.sweep();
  clock.advance(LEASE_IDLE_MS - 1);
  const other = { ...ENDPOINT, id: 'cd'.repeat(32), address: '10.0.3.3' };
  state.endpoints.set(other.id, other);
  await sweeper.sweep();
  state.endpoints.delete(other.id);
  clock.advance(1);
  await sweeper.sweep();
  t.strictSame(manager.detached, []);
});

void t.test(
  'without a manager it is tried again; one that nobody knows is forgotten',
  async (t) => {
    const { state, manager, sweeper, later } = await setUp(t);
    manager.refusal = new SkepError('unavailable', 'no session with a manager');
    await later();
    t.equal(state.leases.size, 2);
    manager.refusal = new SkepError('not_found', 'attachment not found');
    await sweeper.sweep();
    t.equal(state.leases.size, 1);
  },
);
