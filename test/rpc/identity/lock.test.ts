/** Node keys that are locked with an unlock key: what is on disk, who can read it, changes of it. */
import { execFileSync } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { newCluster, type NewCluster } from '../../../src/manager/ca/bootstrap.js';
import { NodeSpec_Availability } from '../../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { NodeIdentity } from '../../../src/rpc/identity/node-identity.js';
import {
  formatUnlockKey,
  parseUnlockKey,
  sameUnlockKey,
} from '../../../src/rpc/identity/unlock-key.js';
import { testIdentity } from '../test-cluster.js';

const DATA_KEY = new Uint8Array(32).fill(7);
const NEXT_DATA_KEY = new Uint8Array(32).fill(8);
const THIRD_DATA_KEY = new Uint8Array(32).fill(9);
const UNLOCK_KEY = new Uint8Array(32).map((_, at) => at * 7);
const OTHER_UNLOCK_KEY = new Uint8Array(32).fill(3);

interface Fixture {
  readonly state: string;
  readonly founding: NewCluster;
  readonly keyText: () => string;
}

async function setUp(t: { teardown(end: () => void): unknown }): Promise<Fixture> {
  const state = mkdtempSync(path.join(tmpdir(), 'skep-lock-'));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  const founding = await newCluster({
    env: systemEnvironment,
    availability: NodeSpec_Availability.ACTIVE,
  });
  const keyFile = path.join(state, 'certificates/swarm-node.key');
  return { state, founding, keyText: () => readFileSync(keyFile, 'utf8') };
}

/** The keys of an identity as plain data. */
function keysOf(identity: NodeIdentity | undefined): unknown {
  const keys = identity?.raftKeys();
  return {
    current: keys?.current.key,
    pending: keys?.pending?.key,
    needsRotation: keys?.needsRotation,
  };
}

void t.test('unlock keys as people see them', async (t) => {
  const text = formatUnlockKey(UNLOCK_KEY);
  t.match(text, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
  t.same(parseUnlockKey(text), UNLOCK_KEY);
  t.equal(parseUnlockKey('SWMKEY-1-YWJj').length, 3, 'another length fits nothing, and parses');
  for (const wrong of ['', 'x', text.slice(1), `${text}=`, `${text} `, 'SWMKEY-1-a', 'SWMKEY-1-é'])
    t.throws(() => parseUnlockKey(wrong), {
      code: 'invalid_argument',
      message: 'invalid key string',
    });
  t.ok(sameUnlockKey(undefined, undefined));
  t.notOk(sameUnlockKey(undefined, UNLOCK_KEY));
  t.notOk(sameUnlockKey(UNLOCK_KEY.subarray(1), UNLOCK_KEY));
});

void t.test('a locked key file opens with its unlock key only', async (t) => {
  const { state, founding, keyText } = await setUp(t);
  await NodeIdentity.create(state, founding.identity, {
    raftDataKey: DATA_KEY,
    unlockKey: UNLOCK_KEY,
  });
  t.ok(await NodeIdentity.isLocked(state));
  t.match(keyText(), /^-----BEGIN ENCRYPTED PRIVATE KEY-----\nraft-dek: /);
  t.notMatch(keyText(), Buffer.from(DATA_KEY).toString('base64').slice(0, 30));
  await t.rejects(NodeIdentity.load(state), { code: 'permission_denied' });
  for (const wrong of [OTHER_UNLOCK_KEY, UNLOCK_KEY.subarray(1), new Uint8Array(0)])
    await t.rejects(NodeIdentity.load(state, wrong), { code: 'permission_denied' });
  const loaded = await NodeIdentity.load(state, UNLOCK_KEY);
  t.same(loaded?.current(), founding.identity);
  t.same(keysOf(loaded), { current: DATA_KEY, pending: undefined, needsRotation: false });

  // A damaged value is damage, not a wrong key.
  const damaged = keyText().replace(/raft-dek: .{20}/, 'raft-dek: ');
  writeFileSync(path.join(state, 'certificates/swarm-node.key'), damaged);
  await t.rejects(NodeIdentity.load(state, UNLOCK_KEY), { code: 'data_loss' });
});

void t.test('OpenSSL decrypts a locked node key', async (t) => {
  const { state, founding, keyText } = await setUp(t);
  // Key bytes without a line end: `-passin file:` reads a line.
  const unlockKey = Buffer.from('0123456789abcdef0123456789abcdef');
  await NodeIdentity.create(state, founding.identity, { raftDataKey: DATA_KEY, unlockKey });
  const bare = path.join(state, 'bare.pem');
  const password = path.join(state, 'password');
  writeFileSync(bare, keyText().replace(/^(-----BEGIN.*\n)(?:[a-z-]+: .*\n)+\n/, '$1'));
  writeFileSync(password, unlockKey);
  const plain = execFileSync('openssl', ['pkey', '-in', bare, '-passin', `file:${password}`]);
  t.ok(createPrivateKey(plain).equals(createPrivateKey(founding.identity.privateKeyPem)));
});

void t.test('the unlock key changes together with the key of the log', async (t) => {
  const { state, founding, keyText } = await setUp(t);
  const identity = await NodeIdentity.create(state, founding.identity, { raftDataKey: DATA_KEY });
  t.equal(await identity.setUnlockKey(undefined, 5n, NEXT_DATA_KEY), 'none');
  t.equal(await identity.setUnlockKey(UNLOCK_KEY, 6n, NEXT_DATA_KEY), 'lockedFirst');
  t.notMatch(keyText(), 'BEGIN PRIVATE KEY');
  t.same(keysOf(await NodeIdentity.load(state, UNLOCK_KEY)), {
    current: DATA_KEY,
    pending: NEXT_DATA_KEY,
    needsRotation: false,
  });

  // Again before the first change of the log is done: it must be followed by another.
  t.equal(await identity.setUnlockKey(OTHER_UNLOCK_KEY, 7n, THIRD_DATA_KEY), 'changed');
  t.equal(await identity.setUnlockKey(UNLOCK_KEY, 6n, THIRD_DATA_KEY), 'none', 'an older cluster');
  await t.rejects(NodeIdentity.load(state, UNLOCK_KEY), { code: 'permission_denied' });
  t.same(keysOf(await NodeIdentity.load(state, OTHER_UNLOCK_KEY)), {
    current: DATA_KEY,
    pending: NEXT_DATA_KEY,
    needsRotation: true,
  });
  await identity.finishRaftKeyChange(THIRD_DATA_KEY);
  t.same(keysOf(await NodeIdentity.load(state, OTHER_UNLOCK_KEY)), {
    current: NEXT_DATA_KEY,
    pending: THIRD_DATA_KEY,
    needsRotation: false,
  });
  await identity.finishRaftKeyChange(DATA_KEY);
  t.same(identity.raftKeys(), { current: { keyId: 3, key: THIRD_DATA_KEY }, needsRotation: false });

  t.equal(await identity.setUnlockKey(undefined, 9n, DATA_KEY), 'changed');
  t.notOk(await NodeIdentity.isLocked(state));
  t.same(keysOf(await NodeIdentity.load(state)), {
    current: THIRD_DATA_KEY,
    pending: DATA_KEY,
    needsRotation: false,
  });
});

void t.test(
  'a renewed certificate stays locked on a manager, and never is on a worker',
  async (t) => {
    const { state, founding, keyText } = await setUp(t);
    const identity = await NodeIdentity.create(state, founding.identity, {
      raftDataKey: DATA_KEY,
      unlockKey: UNLOCK_KEY,
    });
    let asked = 0;
    const unsubscribe = identity.onRenewalRequest(() => asked++);
    identity.requestRenewal();
    unsubscribe();
    identity.requestRenewal();
    t.equal(asked, 1);
    await identity.replace(await testIdentity(founding, founding.node.id, 'manager'));
    t.match(keyText(), /^-----BEGIN ENCRYPTED/);
    await identity.replace(await testIdentity(founding, founding.node.id, 'worker'));
    t.match(keyText(), /^-----BEGIN PRIVATE/);
    await identity.replace(await testIdentity(founding, founding.node.id, 'manager'));
    t.equal(
      await identity.setUnlockKey(UNLOCK_KEY, 1n, NEXT_DATA_KEY),
      'lockedFirst',
      'what a worker forgot a new manager takes up again',
    );
  },
);
