/** Gossip and IPsec keys: what a stock engine insists on, over many rotations. */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { KeyManager } from '../../../src/manager/keys/key-manager.js';
import { ClusterSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type { EncryptionKey } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { createLocalStore } from '../../../src/store/memory-store.js';
import { simulatedEnvironment } from '../../support/simulated-environment.js';

const SUBSYSTEMS = ['networking:gossip', 'networking:ipsec'];
const HOUR_MS = 3_600_000;

async function world(t: { teardown(end: () => void): unknown }) {
  const env = simulatedEnvironment(3);
  const { store, proposer } = createLocalStore(env, { freezeObjects: true });
  await store.update((write) => write.create('cluster', create(ClusterSchema, { id: 'c' })));
  const keys = new KeyManager({ store, clusterId: 'c', env, logger: silentLogger });
  t.teardown(() => keys.stop());
  const read = (subsystem: string): readonly EncryptionKey[] => {
    const cluster = store.view((view) => view.get('cluster', 'c'));
    return (cluster?.networkBootstrapKeys ?? []).filter((key) => key.subsystem === subsystem);
  };
  return { env, store, proposer, keys, read };
}

/** In order of age; the second oldest is the one in use. */
function byAge(keys: readonly EncryptionKey[]): string[] {
  return [...keys]
    .sort((a, b) => Number(a.lamportTime - b.lamportTime))
    .map((key) => Buffer.from(key.key).toString('hex'));
}

void t.test('three keys of 16 bytes each, and every rotation keeps the two youngest', async (t) => {
  const { env, keys, read, store } = await world(t);
  await keys.start();
  let before = SUBSYSTEMS.map((subsystem) => byAge(read(subsystem)));
  for (let round = 0; round < 10; round++) {
    await env.clock.advanceAsync(12 * HOUR_MS);
    const after = SUBSYSTEMS.map((subsystem) => byAge(read(subsystem)));
    for (const [index, ring] of after.entries()) {
      t.equal(ring.length, 3);
      t.equal(new Set(ring).size, 3);
      t.ok(ring.every((key) => key.length === 32));
      t.same(ring.slice(0, 2), before[index]?.slice(1), 'the oldest went, a newer one came');
    }
    before = after;
  }
  const cluster = store.view((view) => view.get('cluster', 'c'));
  const times = cluster?.networkBootstrapKeys.map((key) => key.lamportTime) ?? [];
  t.equal(new Set(times).size, 6, 'no two keys of one time');
  t.equal(cluster?.encryptionKeyLamportClock, times.sort((a, b) => Number(a - b)).at(-1));
});

void t.test('a new leader goes on with the keys there are', async (t) => {
  const { env, keys, read, store } = await world(t);
  await keys.start();
  const first = SUBSYSTEMS.map((subsystem) => byAge(read(subsystem)));
  const version = store.version();
  await keys.start();
  keys.stop();
  await keys.start();
  t.equal(store.version(), version, 'nothing was written');
  t.same(
    SUBSYSTEMS.map((subsystem) => byAge(read(subsystem))),
    first,
  );
  keys.stop();
  await env.clock.advanceAsync(24 * HOUR_MS);
  t.same(
    SUBSYSTEMS.map((subsystem) => byAge(read(subsystem))),
    first,
    'stopped: no rotation',
  );
  t.equal(env.clock.pendingTimers, 0);
});

void t.test('a rotation that fails is tried again', async (t) => {
  const { env, keys, read, proposer } = await world(t);
  await keys.start();
  const [oldest] = byAge(read('networking:gossip'));
  proposer.available = false;
  await env.clock.advanceAsync(12 * HOUR_MS + 5_000);
  t.equal(byAge(read('networking:gossip'))[0], oldest);
  proposer.available = true;
  await env.clock.advanceAsync(10_000);
  t.not(byAge(read('networking:gossip'))[0], oldest);
});
