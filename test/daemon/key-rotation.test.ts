/** A manager follows the cluster's unlock key, and changes the key of its log with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clone } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { KeyRotation } from '../../src/daemon/key-rotation.js';
import { newCluster } from '../../src/manager/ca/bootstrap.js';
import { managerUnlockKey, unlockKeysFor } from '../../src/manager/ca/unlock-keys.js';
import { newClusterObject } from '../../src/daemon/new-cluster.js';
import { ClusterSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeSpec_Availability } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { NodeIdentity } from '../../src/rpc/identity/node-identity.js';
import { createLocalStore } from '../../src/store/memory-store.js';
import type { DataKey } from '../../src/store/wal/record.js';
import { until } from '../rpc/until.js';

async function setUp(t: Test) {
  const env = systemEnvironment;
  const state = mkdtempSync(path.join(tmpdir(), 'skep-rotation-'));
  const founding = await newCluster({ env, availability: NodeSpec_Availability.ACTIVE });
  const { store } = createLocalStore(env);
  const { clusterId } = founding;
  await store.update((write) =>
    write.create(
      'cluster',
      newClusterObject({ cluster: founding, addressPools: [], subnetSize: 24, dataPathPort: 4789 }),
    ),
  );
  const identity = await NodeIdentity.create(state, founding.identity, {
    raftDataKey: new Uint8Array(32).fill(1),
  });
  /** Keys the log was changed to, and how each change ends. */
  const rotated: DataKey[] = [];
  let rotateLog = (): Promise<void> => Promise.resolve();
  const timers: (() => void)[] = [];
  const rotation = new KeyRotation({
    store,
    identity,
    environment: {
      ...env,
      clock: {
        nowMs: () => env.clock.nowMs(),
        monotonicMs: () => env.clock.monotonicMs(),
        setTimer: (_delayMs, callback) => {
          timers.push(callback);
          return { cancel: () => undefined };
        },
      },
    },
    logger: silentLogger,
    rotateLog: async (key) => {
      rotated.push(key);
      await rotateLog();
    },
  });
  t.teardown(async () => {
    await rotation.stop();
    rmSync(state, { recursive: true, force: true });
  });
  const setLock = async (isOn: boolean, rotate = false): Promise<Uint8Array | undefined> => {
    await store.update((write) => {
      const found = write.get('cluster', clusterId);
      if (found === undefined) throw new Error('no cluster');
      const cluster = clone(ClusterSchema, found);
      if (cluster.spec?.encryptionConfig) cluster.spec.encryptionConfig.autoLockManagers = isOn;
      cluster.unlockKeys = unlockKeysFor(cluster, rotate, env.random);
      write.update('cluster', cluster);
    });
    return managerUnlockKey(store.view((read) => read.get('cluster', clusterId)));
  };
  return {
    state,
    identity,
    rotation,
    rotated,
    timers,
    setLock,
    onRotate: (next: () => Promise<void>) => {
      rotateLog = next;
    },
  };
}

void t.test('on, another key, off: the log follows each', async (t) => {
  const { state, identity, rotation, rotated, setLock } = await setUp(t);
  let renewals = 0;
  identity.onRenewalRequest(() => renewals++);
  rotation.start();
  const first = await setLock(true);
  await until('the first change', () => identity.raftKeys()?.current.keyId === 2);
  t.equal(renewals, 1, 'the node key was in clear: it is renewed');
  t.ok(await NodeIdentity.load(state, first));
  t.same(await setLock(true), first, 'without a rotation the key stays');
  const second = await setLock(true, true);
  await until('the second change', () => identity.raftKeys()?.current.keyId === 3);
  await t.rejects(NodeIdentity.load(state, first), { code: 'permission_denied' });
  t.ok(await NodeIdentity.load(state, second));
  t.equal(await setLock(false), undefined);
  await until('the third change', () => identity.raftKeys()?.current.keyId === 4);
  t.notOk(await NodeIdentity.isLocked(state));
  t.equal(renewals, 1);
  t.same(
    rotated.map(({ keyId }) => keyId),
    [2, 3, 4],
  );
  t.equal(identity.raftKeys()?.pending, undefined);
});

void t.test('the unlock key is on disk before the log has changed', async (t) => {
  const { state, identity, rotation, rotated, setLock, onRotate } = await setUp(t);
  let finish = (): void => undefined;
  onRotate(() => new Promise((resolve) => (finish = resolve)));
  rotation.start();
  await setLock(true);
  await until('the change to begin', () => rotated.length === 1);
  const second = await setLock(true, true);
  await rotation.stop();
  t.ok(await NodeIdentity.load(state, second), 'the latest key, although the log still changes');
  t.match(identity.raftKeys(), {
    current: { keyId: 1 },
    pending: { keyId: 2 },
    needsRotation: true,
  });
  finish();
  await until('the end of the change', () => identity.raftKeys()?.current.keyId === 2);
});

void t.test('a change that fails is tried again, and taken up after a start', async (t) => {
  const { identity, rotation, rotated, timers, setLock, onRotate } = await setUp(t);
  await setLock(true);
  onRotate(() => Promise.reject(new Error('the disk is full')));
  rotation.start();
  await until('the failure', () => timers.length === 1);
  t.match(identity.raftKeys(), { current: { keyId: 1 }, pending: { keyId: 2 } });
  onRotate(() => Promise.resolve());
  timers[0]?.();
  await until('the change', () => identity.raftKeys()?.current.keyId === 2);
  t.same(
    rotated.map(({ keyId }) => keyId),
    [2, 2],
  );
});
