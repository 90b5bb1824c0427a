/**
 * What a host must have before skepd can serve it: rights, kernel features, tools, mounts and free
 * ports. Everything missing yields one sentence that says what is missing and what to do.
 */
import { SkepError } from '../model/errors.js';
import { type KernelFeature, type KernelProbe, probeKernel } from '../native/netlink.js';
import type { DaemonOptions } from './options.js';
import { holderName, type PortHolder } from '../network/port-holders.js';
import { type HostFacts, realHost } from './host-facts.js';

/** Names of the capabilities without which nothing works, by bit. */
const CAPABILITIES: readonly (readonly [number, string])[] = [
  [12, 'CAP_NET_ADMIN'],
  [13, 'CAP_NET_RAW'],
  [21, 'CAP_SYS_ADMIN'],
];

/** What to do about a feature the kernel does not have. */
const FEATURES: Readonly<Record<KernelFeature, string>> = {
  veth: 'veth devices with a clsact queue: use a kernel with CONFIG_VETH and CONFIG_NET_SCH_INGRESS',
  vxlan: 'VXLAN devices: use a kernel with CONFIG_VXLAN (or load the module vxlan)',
  'bpf-lru-map': 'BPF maps: use Linux 5.10 or newer with CONFIG_BPF_SYSCALL',
  'bpf-trie-map': 'BPF trie maps: use Linux 5.10 or newer with CONFIG_BPF_SYSCALL',
  'bpf-tc-program':
    'BPF programs for traffic control: use Linux 5.10 or newer with CONFIG_NET_CLS_ACT',
  'bpf-socket-program':
    'BPF programs on control groups: use Linux 5.10 or newer with CONFIG_CGROUP_BPF',
};

/** Device of our own data path; while it exists the tunnel port is ours. */
const OWN_TUNNEL_DEVICE = 'sw-vx0';

/** Checks everything but the ports. @throws SkepError with one line for each thing missing */
export async function checkHost(
  options: Pick<DaemonOptions, 'pinDir'>,
  host: HostFacts = realHost,
  probe: () => readonly KernelProbe[] = probeKernel,
): Promise<void> {
  const missing = [
    ...missingRights(host),
    ...missingMounts(options.pinDir, host),
    ...(await missingTools(host)),
  ];
  // Without rights each probe would fail and say the wrong thing.
  if (missingRights(host).length === 0) missing.push(...missingFeatures(probe()));
  if (missing.length > 0) throw new SkepError('failed_precondition', missing.join('\n'));
}

/** The VXLAN port must be free or already ours. @throws SkepError that names the holder */
export function checkTunnelPort(port: number, host: HostFacts = realHost): void {
  if (host.deviceExists(OWN_TUNNEL_DEVICE)) return;
  const holder = host.portHolder('udp', port);
  if (holder === undefined) return;
  throw taken(
    `UDP port ${port} (overlay networks)`,
    holder,
    'stop it, or choose another port with --data-path-port',
  );
}

/** The gossip port must be free, for UDP and TCP. @throws SkepError that names the holder */
export function checkGossipPort(port: number, host: HostFacts = realHost): void {
  for (const protocol of ['tcp', 'udp'] as const) {
    const holder = host.portHolder(protocol, port);
    if (holder === undefined) continue;
    const what = `${protocol.toUpperCase()} port ${port} (gossip between nodes)`;
    throw taken(
      what,
      holder,
      'stop it: a stock swarm on this host is left with "docker swarm leave"',
    );
  }
}

/** The managers' port must be free. @throws SkepError that names the holder */
export function checkManagerPort(port: number, host: HostFacts = realHost): void {
  const holder = host.portHolder('tcp', port);
  if (holder === undefined) return;
  const advice = 'stop it, or choose another port with --listen-addr';
  throw taken(`TCP port ${port} (managers)`, holder, advice);
}

function taken(what: string, holder: PortHolder, advice: string): SkepError {
  return new SkepError(
    'failed_precondition',
    `${what} is in use by ${holderName(holder)}: ${advice}`,
  );
}

function missingRights(host: HostFacts): readonly string[] {
  const held = host.capabilities();
  const lacking = CAPABILITIES.filter(([bit]) => ((held >> BigInt(bit)) & 1n) === 0n);
  if (lacking.length === 0) return [];
  const names = lacking.map(([, name]) => name).join(', ');
  return [`skepd lacks ${names}: run it as root`];
}

function missingMounts(pinDir: string, host: HostFacts): readonly string[] {
  const missing: string[] = [];
  if (!host.mounts().some(({ type }) => type === 'cgroup2')) {
    missing.push(
      'no cgroup2 hierarchy is mounted: mount one, e.g. "mount -t cgroup2 none /sys/fs/cgroup/unified"',
    );
  }
  if (mountOf(pinDir, host) !== 'bpf') {
    missing.push(
      `${pinDir} is not on a BPF file system: "mount -t bpf bpf /sys/fs/bpf", or choose another directory with --pin-dir`,
    );
  }
  return missing;
}

/** Type of the file system that holds `directory`. */
function mountOf(directory: string, host: HostFacts): string | undefined {
  let best = { point: '', type: undefined as string | undefined };
  for (const { point, type } of host.mounts()) {
    const prefix = point.endsWith('/') ? point : `${point}/`;
    const holds = `${directory}/`.startsWith(prefix);
    // Of two mounts on one point the later hides the earlier.
    if (holds && point.length >= best.point.length) best = { point, type };
  }
  return best.type;
}

async function missingTools(host: HostFacts): Promise<readonly string[]> {
  const outcome = await host.run('nft', ['list', 'tables']);
  switch (outcome.kind) {
    case 'ok':
      return [];
    case 'missing':
      return ['the program nft is not installed: install the package nftables'];
    case 'failed':
      if (missingRights(host).length > 0) return [];
      return [`nft does not work here (${outcome.message}): use a kernel with CONFIG_NF_TABLES`];
  }
}

function missingFeatures(probes: readonly KernelProbe[]): readonly string[] {
  return probes
    .filter(({ code }) => code !== undefined && code !== 'EADDRINUSE')
    .map(({ feature, message }) => {
      return `this kernel does not offer ${FEATURES[feature]} (${message.trim()})`;
    });
}
