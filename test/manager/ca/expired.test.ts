/** Managers that come back after their certificate has expired. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clone } from '@bufbuild/protobuf';
import t from 'tap';
import { blacklistNode } from '../../../src/manager/ca/cluster-root.js';
import { isExpired, renewIfExpired } from '../../../src/manager/ca/expired.js';
import type { Environment } from '../../../src/model/environment.js';
import { NodeSchema } from '../../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { NodeRole } from '../../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import { isSignedBy } from '../../../src/rpc/identity/root-ca.js';
import { startTestCluster } from '../../rpc/test-cluster.js';

const DAY_MS = 24 * 3_600_000;
const EXPIRED = {
  code: 'unavailable',
  message: 'Swarm certificates have expired. To replace them, leave the swarm and join again.',
};

/** The present, so many days later. */
function later(days: number): Environment {
  const { clock } = systemEnvironment;
  return {
    ...systemEnvironment,
    clock: {
      nowMs: () => clock.nowMs() + days * DAY_MS,
      monotonicMs: () => clock.monotonicMs(),
      setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
    },
  };
}

void t.test('a manager makes itself a new certificate', async (t) => {
  const cluster = await startTestCluster();
  const state = mkdtempSync(path.join(tmpdir(), 'skep-expired-'));
  t.teardown(async () => {
    await cluster.stop();
    rmSync(state, { recursive: true, force: true });
  });
  const { founding, store } = cluster;
  const unlockKey = new Uint8Array(32).fill(4);
  const identity = await NodeIdentity.create(state, founding.identity, {
    raftDataKey: new Uint8Array(32),
    unlockKey,
  });
  await renewIfExpired(identity, store, later(80));
  t.same(identity.current(), founding.identity, 'not before its time');
  t.ok(isExpired(identity, later(91)));
  await renewIfExpired(identity, store, later(91));
  t.notOk(isExpired(identity, later(91)));
  const loaded = await NodeIdentity.load(state, unlockKey);
  t.match(loaded?.facts(), { nodeId: founding.node.id, role: 'manager' });
  t.ok(isSignedBy(loaded?.current().certificatePem ?? '', founding.identity.rootCaPem));

  // Not if it was demoted or removed meanwhile, nor without the key of the root.
  const demoted = clone(NodeSchema, founding.node);
  await store.update((write) => {
    const node = clone(NodeSchema, write.get('node', demoted.id) ?? demoted);
    node.role = NodeRole.WORKER;
    write.update('node', node);
  });
  await t.rejects(renewIfExpired(identity, store, later(200)), EXPIRED);
  await store.update((write) => {
    const node = clone(NodeSchema, write.get('node', demoted.id) ?? demoted);
    node.role = NodeRole.MANAGER;
    write.update('node', node);
    write.update('cluster', blacklistNode(cluster.cluster(), node, Date.now()));
  });
  await t.rejects(renewIfExpired(identity, store, later(200)), EXPIRED);
});
