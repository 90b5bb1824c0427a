/**
 * The checks at start: one sentence for each thing missing, and holders of ports by name against
 * real sockets.
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { type HostFacts, parseMounts, realHost } from '../../src/daemon/host-facts.js';
import {
  checkGossipPort,
  checkHost,
  checkManagerPort,
  checkTunnelPort,
} from '../../src/daemon/preflight.js';
import type { KernelProbe } from '../../src/native/netlink.js';

const OPTIONS = { pinDir: '/sys/fs/bpf/skep' };
const GOOD: HostFacts = {
  capabilities: () => (1n << 41n) - 1n,
  mounts: () => [
    { point: '/', type: 'ext4' },
    { point: '/sys', type: 'sysfs' },
    { point: '/sys/fs/bpf', type: 'bpf' },
    { point: '/sys/fs/cgroup', type: 'cgroup2' },
  ],
  deviceExists: () => false,
  portHolder: () => undefined,
  run: () => Promise.resolve({ kind: 'ok' }),
};
const WORKS: readonly KernelProbe[] = [{ feature: 'vxlan', code: undefined, message: '' }];

async function sentences(
  host: Partial<HostFacts>,
  probes: readonly KernelProbe[] = WORKS,
): Promise<readonly string[]> {
  try {
    await checkHost(OPTIONS, { ...GOOD, ...host }, () => probes);
    return [];
  } catch (error) {
    return error instanceof Error ? error.message.split('\n') : [String(error)];
  }
}

void t.test('one sentence for each thing missing', async (t) => {
  t.same(await sentences({}), []);
  t.match(await sentences({ capabilities: () => 0n }), [
    /^skepd lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN: run it as root$/,
  ]);
  t.match(await sentences({ mounts: () => [{ point: '/', type: 'ext4' }] }), [
    /^no cgroup2 hierarchy is mounted: mount one/,
    /^\/sys\/fs\/bpf\/skep is not on a BPF file system: "mount -t bpf/,
  ]);
  t.match(await sentences({ run: () => Promise.resolve({ kind: 'missing' }) }), [
    /^the program nft is not installed: install the package nftables$/,
  ]);
  const broken = { kind: 'failed', message: 'netlink: no such protocol' } as const;
  t.match(await sentences({ run: () => Promise.resolve(broken) }), [
    /^nft does not work here \(netlink: no such protocol\): use a kernel with/,
  ]);
  t.match(await sentences({}, [{ feature: 'vxlan', code: 'EOPNOTSUPP', message: 'netlink X' }]), [
    /^this kernel does not offer VXLAN devices: use a kernel with CONFIG_VXLAN .*\(netlink X\)$/,
  ]);
});

void t.test('who holds a port', async (t) => {
  const held = { portHolder: () => ({ kind: 'process', name: 'dockerd', pid: 7 }) as const };
  const kernel = { portHolder: () => ({ kind: 'kernel' }) as const };
  t.throws(() => checkTunnelPort(4789, { ...GOOD, ...held }), {
    message:
      'UDP port 4789 (overlay networks) is in use by dockerd (process 7): stop it, or choose another port with --data-path-port',
  });
  t.throws(() => checkTunnelPort(4789, { ...GOOD, ...kernel }), { message: /VXLAN device/ });
  t.doesNotThrow(() =>
    checkTunnelPort(4789, { ...GOOD, ...kernel, deviceExists: (name) => name === 'sw-vx0' }),
  );
  t.throws(() => checkGossipPort(7946, { ...GOOD, ...held }), {
    message: /^TCP port 7946/,
  });
  t.throws(() => checkManagerPort(2377, { ...GOOD, ...held }), { message: /^TCP port 2377/ });
  t.doesNotThrow(() => checkManagerPort(2377, GOOD));
});

void t.test('finds real holders', async (t) => {
  const script = `require('net').createServer().listen(0, '127.0.0.1', function () {
    const tcp = this.address().port;
    const udp = require('dgram').createSocket('udp4').bind(0, () =>
      console.log(tcp, udp.address().port)); });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill());
  const line = await new Promise<string>((resolve) =>
    child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
  );
  const [tcp = 0, udp = 0] = line.trim().split(' ').map(Number);
  const holder = { kind: 'process', name: 'node', pid: child.pid };
  t.same(realHost.portHolder('tcp', tcp), holder);
  t.same(realHost.portHolder('udp', udp), holder);
  const own = createServer();
  await new Promise<void>((resolve) => own.listen(0, '127.0.0.1', resolve));
  t.teardown(() => own.close());
  const address = own.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  t.equal(realHost.portHolder('tcp', port), undefined, 'what this process holds is not taken');
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const free = socket.address().port;
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  t.equal(realHost.portHolder('udp', free), undefined);
});

void t.test('a kernel socket on the tunnel port is seen', async (t) => {
  const module = fileURLToPath(new URL('../../src/daemon/preflight.js', import.meta.url));
  const command = `ip link add v0 type vxlan external dstport 4789 && ip link set v0 up &&
    exec "$0" --input-type=module --eval "const p = await import('${module}');
    try { p.checkTunnelPort(4789); } catch (error) { console.log(error.message); }"`;
  const { stdout } = await promisify(execFile)('unshare', [
    ...['--net', 'sh', '-c', command, process.execPath],
  ]);
  t.match(stdout, /UDP port 4789 \(overlay networks\) is in use by the kernel/);
});

void t.test('this machine passes', async (t) => {
  const bpf = realHost.mounts().find(({ type }) => type === 'bpf');
  if (bpf === undefined) t.comment('no BPF file system is mounted here');
  else await t.resolves(checkHost({ pinDir: `${bpf.point}/skep` }));
  t.ok(realHost.mounts().length > 0);
});

void t.test('reads /proc', async (t) => {
  const info = '36 35 98:0 / /mnt\\040a rw,noatime master:1 - ext3 /dev/root rw\nnonsense\n';
  t.same(parseMounts(info), [{ point: '/mnt a', type: 'ext3' }]);
});
