/** A node's identity on disk, crashes between its writes included. */
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { newCluster, type NewCluster } from '../../../src/manager/ca/bootstrap.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import { testIdentity } from '../test-cluster.js';

const KEY_9 = new Uint8Array(32).fill(9);

interface Fixture {
  readonly state: string;
  readonly founding: NewCluster;
  readonly file: (name: string) => string;
}

async function setUp(t: { teardown(end: () => void): unknown }): Promise<Fixture> {
  const state = mkdtempSync(path.join(tmpdir(), 'skep-identity-'));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  const founding = await newCluster({
    env: systemEnvironment,
    availability: NodeSpec_Availability.ACTIVE,
  });
  return { state, founding, file: (name) => path.join(state, 'certificates', name) };
}

void t.test('what is stored is loaded, keys with mode 0600', async (t) => {
  const { state, founding, file } = await setUp(t);
  t.equal(await NodeIdentity.load(state), undefined);
  const created = await NodeIdentity.create(state, founding.identity);
  await created.setRaftDataKey(Buffer.alloc(32, 9));
  t.equal(statSync(file('swarm-node.key')).mode & 0o777, 0o600);
  t.equal(statSync(file('swarm-node.crt')).mode & 0o777, 0o644);
  t.match(readFileSync(file('swarm-node.key'), 'utf8'), /\nraft-dek: AAEAAAAJCQkJ/);
  const loaded = await NodeIdentity.load(state);
  t.same(loaded?.current(), founding.identity);
  t.same(loaded?.raftKeys(), { current: { keyId: 1, key: KEY_9 }, needsRotation: false });
  t.match(loaded?.facts(), { nodeId: founding.node.id, role: 'manager' });
});

void t.test('a renewed certificate keeps the headers and is announced', async (t) => {
  const { state, founding } = await setUp(t);
  const identity = await NodeIdentity.create(state, founding.identity, {
    raftDataKey: Buffer.alloc(32, 1),
  });
  const heard: TlsIdentity[] = [];
  const unsubscribe = identity.subscribe((next) => heard.push(next));
  const renewed = await testIdentity(founding, founding.node.id, 'worker');
  await Promise.all([identity.setRaftDataKey(KEY_9), identity.replace(renewed)]);
  unsubscribe();
  await identity.replaceRoot(renewed.rootCaPem);
  t.same(heard, [renewed]);
  const loaded = await NodeIdentity.load(state);
  t.same(loaded?.current(), renewed);
  t.same(loaded?.raftKeys()?.current.key, KEY_9);
  t.equal(loaded?.facts().role, 'worker');
});

void t.test(
  'a crash between certificate and key is mended, older crashes are ignored',
  async (t) => {
    const { state, founding, file } = await setUp(t);
    const renewed = await testIdentity(founding, founding.node.id, 'manager');
    await NodeIdentity.create(state, renewed);
    const nextKey = readFileSync(file('swarm-node.key'), 'utf8');
    await NodeIdentity.create(state, founding.identity);

    // Before the certificate was in place: the old pair counts.
    writeFileSync(file('.swarm-node.key'), nextKey);
    t.same((await NodeIdentity.load(state))?.current(), founding.identity);

    // After it was in place, before the key was renamed: the new pair counts, and is made whole.
    writeFileSync(file('swarm-node.crt'), renewed.certificatePem);
    t.same((await NodeIdentity.load(state))?.current(), renewed);
    t.equal(readFileSync(file('swarm-node.key'), 'utf8'), nextKey);
    t.same((await NodeIdentity.load(state))?.current(), renewed);

    // Damage that no crash explains is an error, not a missing identity.
    renameSync(file('swarm-node.key'), file('elsewhere'));
    await t.rejects(NodeIdentity.load(state), { code: 'data_loss' });
  },
);
