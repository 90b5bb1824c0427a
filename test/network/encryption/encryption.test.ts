/**
 * One node's encryption over devices without packets: when keys are made, announced, changed and
 * given up, and what is refused.
 */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import type { WireguardPeerRow } from '../../../src/native/datapath-types.js';
import { Encryption } from '../../../src/network/encryption/encryption.js';
import {
  KEY_TABLE,
  type NodeKeys,
  readKeyRecord,
  writeKeyRecord,
} from '../../../src/network/encryption/key-record.js';
import { KeySeal } from '../../../src/network/encryption/key-seal.js';
import { KeyStateFile } from '../../../src/network/encryption/key-state.js';
import { tunnelAddress, tunnelNumber } from '../../../src/network/encryption/keys.js';
import { MemoryDevices } from './memory-devices.js';
import {
  KEY_CHANGE_RETRY_MS,
  KEY_OVERLAP_MAX_MS,
  KEY_SETTLE_MS,
} from '../../../src/network/limits.js';
import { silentLogger } from '../../../src/observe/logger.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import type { TlsIdentity } from '../../../src/rpc/types.js';
import { TestCluster } from '../support/test-cluster.js';

const NODE = 'mmmmmmmmmmmmmmmmmmmmmmmmm';
const PEER = 'aaaaaaaaaaaaaaaaaaaaaaaaa';
const PORT = 47_947;
const ROTATION_MS = 3_600_000;
const NETWORK = 'secret';
const NOTHING = 'this host can do no WireGuard: nothing is installed';

const cluster = await TestCluster.create();
const identity = await cluster.identity(NODE);
const renewedIdentity = await cluster.identity(NODE);
const peerIdentity = await cluster.identity(PEER);

/** One node whose clock a test moves. */
class TestNode {
  readonly directory: string;
  devices = new MemoryDevices();
  rows: readonly WireguardPeerRow[] = [];
  encryption: Encryption;
  underlayAddress = '192.0.2.1';
  private identity = identity;
  private readonly listeners = new Set<(next: TlsIdentity) => void>();
  private aheadMs = 0;

  constructor(directory: string) {
    this.directory = directory;
    this.encryption = this.open();
  }

  nowMs(): number {
    return Date.now() + this.aheadMs;
  }

  /** A fresh process over the same directory and devices. */
  async restart(): Promise<void> {
    await this.encryption.stop();
    this.encryption = this.open();
    await this.begin();
  }

  /** The node gets another certificate, of another key. */
  renew(): void {
    this.identity = renewedIdentity;
    for (const listener of this.listeners) listener(renewedIdentity);
  }

  /** What is on disk. */
  async stored(): Promise<string> {
    return await readFile(path.join(this.directory, 'encryption.json'), 'utf8');
  }

  async begin(): Promise<void> {
    await this.encryption.start();
    await this.encryption.configure(NODE, { port: PORT, rotationMs: ROTATION_MS });
  }

  /** Lets time pass, then does what is due. */
  async after(ms: number): Promise<void> {
    this.aheadMs += ms;
    await this.encryption.require();
  }

  /** What the node announces. */
  record(): NodeKeys | undefined {
    const [entry] = this.encryption.entries([NETWORK]);
    if (entry === undefined) return undefined;
    const judge = { owner: NODE, identity: peerIdentity, nowMs: this.nowMs() };
    const read = readKeyRecord(entry.value, judge);
    return read.kind === 'valid' ? read.keys : undefined;
  }

  /** A record of the peer arrives. */
  learn(more: Partial<NodeKeys> = {}): void {
    const keys: NodeKeys = {
      nodeId: PEER,
      sequence: BigInt(Math.floor(this.nowMs())),
      expiresMs: this.nowMs() + 100 * ROTATION_MS,
      underlayAddress: '192.0.2.9',
      tunnel: 5,
      generations: [{ number: 2n, publicKey: 'ab'.repeat(32), port: 7947 }],
      ...more,
    };
    const value = writeKeyRecord(keys, peerIdentity);
    const entry = { networkId: NETWORK, table: KEY_TABLE, key: PEER, owner: PEER, value };
    this.encryption.apply({ type: 'entry', ...entry });
  }

  /** Every peer of a device completes a handshake. */
  shake(name: string): void {
    const device = this.devices.byName.get(name);
    for (const key of device?.peers.keys() ?? []) {
      device?.handshakes.set(key, Math.floor(this.nowMs() / 1000));
    }
  }

  private open(): Encryption {
    const environment = {
      random: systemEnvironment.random,
      clock: {
        ...systemEnvironment.clock,
        nowMs: () => this.nowMs(),
        monotonicMs: () => this.nowMs(),
      },
    };
    return new Encryption({
      ...{ environment, devices: this.devices, logger: silentLogger },
      identity: {
        current: () => this.identity,
        subscribe: (listener) => {
          this.listeners.add(listener);
          return () => this.listeners.delete(listener);
        },
      },
      stateDirectory: this.directory,
      underlayAddress: this.underlayAddress,
      datapath: { containerMtu: 1450, setWireguard: (rows) => void (this.rows = rows) },
      onChange: () => undefined,
    });
  }
}

async function started(t: Test): Promise<TestNode> {
  const directory = await mkdtemp(path.join(tmpdir(), 'skep-encryption-'));
  const node = new TestNode(directory);
  t.teardown(async () => {
    await node.encryption.stop();
    await rm(directory, { recursive: true });
  });
  await node.begin();
  return node;
}

void t.test('without WireGuard joining fails with a sentence, until there is one', async (t) => {
  const node = await started(t);
  for (const name of ['sw-wg0', 'sw-wg1']) node.devices.refused.set(name, NOTHING);
  await t.rejects(node.encryption.require(), { code: 'failed_precondition', message: NOTHING });
  t.equal(node.record(), undefined, 'nothing is announced');
  node.devices.refused.clear();
  await node.encryption.require();
  t.equal(node.record()?.generations.length, 1);
});

void t.test('a data path address of IPv6 is refused with a sentence', async (t) => {
  const node = await started(t);
  node.underlayAddress = 'fd00:77::11';
  await node.restart();
  const message =
    "encrypted networks need a data path address of IPv4, and this node's is fd00:77::11";
  await t.rejects(node.encryption.require(), { code: 'failed_precondition', message });
  t.equal(node.record(), undefined, 'nothing is announced');
});

void t.test('keys are announced once they are stored, and survive a restart', async (t) => {
  const node = await started(t);
  t.equal(node.record(), undefined, 'no key before one is needed');
  await node.encryption.require();
  const { mode } = await stat(path.join(node.directory, 'encryption.json'));
  t.equal(mode & 0o777, 0o600);
  node.learn();
  await node.encryption.require();
  const before = node.record();
  t.equal(node.encryption.tunnels.get(PEER), tunnelAddress(5, 2n));
  t.equal(node.encryption.underlayOf(tunnelAddress(5, 2n)), '192.0.2.9');
  await node.restart();
  await node.encryption.require();
  const after = node.record();
  t.same(after?.generations, before?.generations);
  t.ok((after?.sequence ?? 0n) > (before?.sequence ?? 0n));
  t.equal(node.encryption.tunnels.get(PEER), tunnelAddress(5, 2n), 'without a word from gossip');
});

void t.test('keys on disk are sealed by the key of the node', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  const before = node.record()?.generations;
  const device = node.devices.byName.get('sw-wg1');
  t.notMatch(await node.stored(), device?.privateKey.toString('base64') ?? '', 'not in clear');
  node.renew();
  await node.after(0);
  await node.restart();
  await node.encryption.require();
  t.same(node.record()?.generations, before, 'sealed anew under the next key of the node');

  const sealed = await node.stored();
  await node.encryption.stop();
  const stolen = new KeyStateFile(
    node.directory,
    () => new KeySeal(identity.privateKeyPem, (count) => systemEnvironment.random.bytes(count)),
  );
  t.same((await stolen.load()).generations, [], 'nothing opens them with another key');
  t.ok((await stolen.load()).sequence > 0n, 'the rest is known');
  t.match(sealed, /sealedKey/);
});

void t.test('a key is changed: the new one first, the old one dropped last', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  node.learn();
  await node.encryption.require();
  const old = node.record()?.generations[0];
  await node.after(ROTATION_MS - 10_000);
  node.shake('sw-wg1');
  await node.after(10_000);
  t.equal(node.record()?.generations.length, 2, 'both are announced');
  const row = { tunnelAddress: tunnelAddress(5, 2n) };
  const source = (number: bigint) => tunnelAddress(tunnelNumber(NODE, 0), number);
  t.match(
    node.rows,
    [{ ...row, interfaceName: 'sw-wg1', source: source(1n) }],
    'the old one is used',
  );
  // The peer still has a session with the old key only.
  node.shake('sw-wg1');
  await node.after(2 * KEY_SETTLE_MS);
  t.equal(node.record()?.generations.length, 2);
  node.shake('sw-wg0');
  await node.after(0);
  t.match(
    node.rows,
    [{ ...row, interfaceName: 'sw-wg0', source: source(2n) }],
    'the new one is used',
  );
  t.equal(node.record()?.generations.length, 2, 'others may still switch');
  await node.after(KEY_SETTLE_MS);
  const now = node.record()?.generations;
  t.equal(now?.length, 1);
  t.not(now?.[0]?.publicKey, old?.publicKey);
  t.notOk(node.devices.byName.has('sw-wg1'));
});

void t.test('other ports make another key at once', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  const before = node.record()?.generations[0];
  await node.encryption.configure(NODE, { port: PORT + 100, rotationMs: ROTATION_MS });
  await node.after(0);
  await node.after(KEY_OVERLAP_MAX_MS);
  const after = node.record()?.generations;
  t.equal(after?.length, 1, 'the old one is gone');
  t.equal(before?.port, PORT + 1);
  t.equal(after?.[0]?.port, PORT + 100);
});

void t.test('a new key without a device is given up, and work goes on', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  const before = node.record()?.generations;
  node.devices.refused.set('sw-wg0', NOTHING);
  await node.after(ROTATION_MS);
  t.same(node.record()?.generations, before, 'never announced');
  await node.after(KEY_CHANGE_RETRY_MS);
  t.same(node.record()?.generations, before);
  node.devices.refused.clear();
  await node.after(0);
  await node.after(0);
  t.equal(node.record()?.generations.length, 2, 'and tried again');
});

void t.test('a device that died is made again with the same key and peers', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  node.learn();
  await node.encryption.require();
  const dead = node.devices.byName.get('sw-wg1');
  await dead?.remove();
  await node.encryption.require();
  const next = node.devices.byName.get('sw-wg1');
  t.not(next, dead);
  t.equal(next?.publicKey, dead?.publicKey);
  t.same([...(next?.peers.keys() ?? [])], ['ab'.repeat(32)]);
});

void t.test('of two nodes with the same tunnel addresses the higher id moves', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  const tunnel = node.record()?.tunnel ?? 0;
  node.learn({ tunnel });
  await node.encryption.require();
  t.not(node.record()?.tunnel, tunnel);
  t.equal(node.encryption.tunnels.get(PEER), tunnelAddress(tunnel, 2n));
});

void t.test('a record that runs out takes the peer away', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  node.learn({ expiresMs: node.nowMs() + ROTATION_MS / 2 });
  await node.encryption.require();
  t.equal(node.rows.length, 1);
  await node.after(ROTATION_MS);
  t.equal(node.rows.length, 0);
});

void t.test('leaving keeps nothing', async (t) => {
  const node = await started(t);
  await node.encryption.require();
  await node.encryption.leave();
  t.same(node.encryption.entries([NETWORK]), []);
  t.equal(node.devices.byName.size, 0);
  await t.rejects(stat(path.join(node.directory, 'encryption.json')), { code: 'ENOENT' });
});
