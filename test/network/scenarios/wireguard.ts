/**
 * Scenario, run in namespaces of its own by encryption/devices.test.ts: the devices of this host
 * with wireguard-go, seen through its own socket and through `wg`.
 */
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import dgram from 'node:dgram';
import { SkepError } from '../../../src/model/errors.js';
import { openNetlink } from '../../../src/native/netlink.js';
import { DeviceSet } from '../../../src/network/encryption/device-set.js';
import { HostWireguardDevices } from '../../../src/network/encryption/host-devices.js';
import { ToolDevice } from '../../../src/network/encryption/kernel-device.js';
import { privateKeyFrom, publicKeyOf } from '../../../src/network/encryption/keys.js';
import type { DeviceState } from '../../../src/network/encryption/wireguard-device.js';
import { systemEnvironment } from '../../../src/observe/system-environment.js';
import { waitFor } from '../../testbed/commands.js';

const MTU = 1440;
const PORT = 7947;
const ODD = 'sw-wg1';

const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');
const newKey = (): Uint8Array => privateKeyFrom(systemEnvironment.random.bytes(32));
const peer = (number: number) => ({
  publicKey: hex(publicKeyOf(newKey())),
  endpoint: `192.0.2.${number}:7947`,
  tunnelAddress: `240.0.0.${number}`,
});
/** Devices list peers in no order. */
const sorted = (state: DeviceState): DeviceState => ({
  ...state,
  peers: [...state.peers].sort((a, b) => (a.publicKey < b.publicKey ? -1 : 1)),
});
const processes = (): string => {
  try {
    return execFileSync('pgrep', ['-x', 'wireguard-go'], { encoding: 'utf8' });
  } catch {
    // None.
    return '';
  }
};

execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const netlink = openNetlink();

// Neither program: one sentence.
await assert.rejects(new HostWireguardDevices(netlink, []).open(ODD, MTU), (error) => {
  const { code, message } = SkepError.from(error);
  assert.equal(code, 'failed_precondition');
  assert.match(message, /^this host can do no WireGuard: .*wireguard-go is not installed$/);
  return true;
});

const devices = new HostWireguardDevices(netlink);
const device = await devices.open(ODD, MTU);
const privateKey = newKey();
const [one, two, three] = [peer(1), peer(2), peer(3)] as const;
await device.change({ privateKey, port: PORT, add: [one, two], remove: [] });
const state = await device.read();
assert.equal(state.publicKey, hex(publicKeyOf(privateKey)));
assert.equal(state.port, PORT);
const names = (rows: readonly { readonly publicKey: string }[]): readonly string[] =>
  rows.map(({ publicKey }) => publicKey).sort();
assert.deepEqual(names(state.peers), names([one, two]));

// The same through `wg`, which serves the kernel's devices.
if (netlink.linkKind(ODD) === 'tun') {
  const tool = new ToolDevice(ODD, netlink);
  assert.deepEqual(sorted(await tool.read()), sorted(state));
  const another = newKey();
  await tool.change({ privateKey: another, port: PORT + 2, add: [three], remove: [one.publicKey] });
  const changed = await device.read();
  assert.deepEqual(names(changed.peers), names([two, three]));
  assert.deepEqual(sorted(await tool.read()), sorted(changed));
  assert.equal(changed.publicKey, hex(publicKeyOf(another)));
  const dump = execFileSync('wg', ['show', ODD, 'allowed-ips'], { encoding: 'utf8' });
  assert.match(dump, /\t240\.0\.0\.3\/32/);
}

// Opened again it is the same device with what it holds, and the same process.
const before = processes();
const again = await devices.open(ODD, MTU);
assert.equal((await again.read()).peers.length, 2);
assert.equal(processes(), before);

// A set brings a device it finds to what is wanted, and says who has its port.
const set = new DeviceSet(devices, MTU);
const generation = { number: 1n, privateKey, port: PORT, createdMs: 0 };
assert.equal(await set.apply([generation], [one]), true);
assert.equal(set.failure, undefined);
const kept = await device.read();
assert.deepEqual([kept.port, kept.publicKey], [PORT, hex(publicKeyOf(privateKey))]);
assert.deepEqual(names(kept.peers), [one.publicKey]);
assert.equal(await set.apply([generation], [one]), false, 'nothing to do');
const holder = dgram.createSocket('udp4');
await new Promise<void>((resolve) => holder.bind(PORT + 1, resolve));
const next = { number: 2n, privateKey: newKey(), port: PORT + 1, createdMs: 0 };
await set.apply([generation, next], [one]);
assert.match(set.failure ?? '', /^UDP port 7948 .* is in use by another process: stop it, or/);
holder.close();
await waitFor('the port', 5000, async () => {
  await set.apply([generation, next], [one]);
  return set.failure === undefined ? true : undefined;
});
await set.apply([], []);
await waitFor('the end of the processes', 5000, () =>
  Promise.resolve(processes() === '' ? true : undefined),
);
assert.deepEqual(
  netlink.linkNames().filter((name) => name.startsWith('sw-')),
  [],
);
console.log('scenario passed');
