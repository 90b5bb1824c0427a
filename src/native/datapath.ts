/**
 * The packet side of this node, over the native class: opens or takes over devices, maps, programs
 * and links, and keeps the netfilter rules beside them.
 */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { invariant, SkepError } from '../model/errors.js';
import { loadAddon } from './addon.js';
import type {
  BackendRow,
  ConnectionRow,
  CounterRow,
  Datapath,
  DatapathOptions,
  DatapathRepair,
  DatapathState,
  DirectProbeRow,
  DirectWayRow,
  LinkRow,
  NetworkRow,
  NodeRow,
  RemoteEndpointRow,
  ServiceKey,
  ServiceRow,
  TraceFilter,
  TraceRow,
  WireguardPeerRow,
} from './datapath-types.js';
import { NetfilterRules } from './nft.js';

/** What a program did with a packet in a test run. */
export interface TestRunResult {
  /** TC verdict: 0 ok, 2 shot, 7 redirect, -1 next. */
  readonly verdict: number;
  readonly packet: Uint8Array;
}

/** Ways that the kernel or the host would not ask for. */
export interface DatapathForcedOptions {
  /** Attaches with clsact filters although the kernel knows tcx. */
  readonly forceClsact?: boolean;
  /** Sends and receives everything through the tunnel device, as hosts with several uplinks do. */
  readonly forceTunnelDevice?: boolean;
}

interface NativeDatapath {
  open(options: DatapathOptions & DatapathForcedOptions): Promise<void>;
  containerMtu(): number;
  usesTcx(): boolean;
  renewedMaps(): readonly string[];
  setNodeId(nodeId: string): void;
  setUnderlay(interfaceNames: readonly string[]): boolean;
  setLocalAddresses(addresses: readonly string[]): void;
  putNodes(rows: readonly NodeRow[]): void;
  removeNodes(nodeIds: readonly string[]): void;
  putNetworks(rows: readonly NetworkRow[]): void;
  removeNetworks(vnis: readonly number[]): void;
  attachLink(row: LinkRow): void;
  detachLink(interfaceName: string): void;
  links(): readonly LinkRow[];
  setWireguard(rows: readonly WireguardPeerRow[]): void;
  putRemoteEndpoints(rows: readonly RemoteEndpointRow[]): void;
  removeRemoteEndpoints(rows: readonly { vni: number; address: string }[]): void;
  putBackends(rows: readonly BackendRow[]): void;
  removeBackends(rows: readonly { vni: number; address: string }[]): void;
  putServices(rows: readonly ServiceRow[]): void;
  removeServices(keys: readonly ServiceKey[]): void;
  dump(): DatapathState;
  sendEchoes(tunnelAddresses: readonly string[]): void;
  echoReplies(): readonly (readonly [string, number])[];
  sendSummed(nodeId: string, port: number, payload: Uint8Array): void;
  softwareChecksums(): boolean;
  useSoftwareChecksums(): void;
  setDirectWays(rows: readonly DirectWayRow[]): void;
  awaitDirectProbes(nonces: readonly Uint8Array[]): void;
  directProbes(): readonly DirectProbeRow[];
  sendDirectProbe(tunnelAddress: string, nonce: Uint8Array, packetBytes: number): boolean;
  counters(): readonly CounterRow[];
  connections(max: number): readonly ConnectionRow[];
  startTrace(filter: TraceFilter): void;
  readTrace(): { readonly rows: readonly TraceRow[]; readonly lost: number };
  stopTrace(): void;
  repair(): number;
  testRun(program: string, packet: Uint8Array, interfaceIndex: number): TestRunResult;
  verifiedInstructions(): Readonly<Record<string, number>>;
  close(): void;
  destroy(): void;
}

/** One sentence for each thing a host can lack; anything else is passed on as it is. */
function explain(error: unknown, options: DatapathOptions): unknown {
  if (!(error instanceof Error)) return error;
  const { code, syscall = '' } = error as NodeJS.ErrnoException;
  const because = (sentence: string) =>
    new SkepError('failed_precondition', sentence, { cause: error });
  const text = error.message;
  // The verifier's refusal of a program is EACCES too, but comes with its log.
  if (syscall === 'bpf(BPF_PROG_LOAD)' && text.includes('\n')) {
    return because(`the kernel refused a program: ${text}`);
  }
  if (code === 'EPERM' || code === 'EACCES') {
    return because('the data path needs root: BPF and network administration were refused');
  }
  if (syscall === 'tunnel') return because(text.replace('tunnel EADDRINUSE: ', ''));
  if (syscall === 'statfs') {
    return because(
      `the pin directory ${options.pinDirectory} is not on a bpf file system (mount -t bpf bpf DIRECTORY)`,
    );
  }
  if (syscall === 'cgroup2') return because('no cgroup2 hierarchy is mounted on this host');
  if (syscall === 'getsockopt(SO_NETNS_COOKIE)') {
    return because('the kernel is too old: network namespace cookies came with Linux 5.14');
  }
  if (syscall.startsWith('netlink(RTM_NEWLINK') && code === 'EOPNOTSUPP') {
    return because('the kernel lacks vxlan or veth devices');
  }
  if (syscall.startsWith('netlink(RTM_GETLINK') && code === 'ENODEV') {
    return because(`no such network interface: ${text.split(': ').pop() ?? ''}`);
  }
  return error;
}

/**
 * Opens the data path of this host, or takes over what a former process has pinned. The kernel may need
 * seconds to verify the programs; that happens on a thread of its own.
 * @throws Node-like errors; SkepError failed_precondition that says what this host lacks
 */
export async function openDatapath(
  options: DatapathOptions & DatapathForcedOptions,
): Promise<KernelDatapath> {
  invariant(options.pinDirectory.startsWith('/'), 'the pin directory is an absolute path');
  const { NativeDatapath: Native } = loadAddon() as { NativeDatapath: new () => NativeDatapath };
  const native = new Native();
  mkdirSync(path.dirname(options.recordFile), { recursive: true, mode: 0o700 });
  try {
    await native.open(options);
  } catch (error) {
    throw explain(error, options);
  }
  const rules = new NetfilterRules(options.tunnelPort);
  rules.install();
  return new KernelDatapath(native, rules);
}

/** {@link Datapath} in the kernel. */
export class KernelDatapath implements Datapath {
  readonly #native: NativeDatapath;
  readonly #rules: NetfilterRules;

  /** Takes what {@link openDatapath} has opened. */
  constructor(native: NativeDatapath, rules: NetfilterRules) {
    this.#native = native;
    this.#rules = rules;
  }

  get containerMtu(): number {
    return this.#native.containerMtu();
  }

  /** True with tcx links, false with the clsact fallback of kernels before 6.6. */
  get usesTcx(): boolean {
    return this.#native.usesTcx();
  }

  /** Tables of a former skepd whose rows this one cannot read: they began empty. */
  get renewedMaps(): readonly string[] {
    return this.#native.renewedMaps();
  }

  setNodeId(nodeId: string): void {
    this.#native.setNodeId(nodeId);
  }

  setUnderlay(interfaceNames: readonly string[]): boolean {
    return this.#native.setUnderlay(interfaceNames);
  }

  setLocalAddresses(addresses: readonly string[]): void {
    this.#native.setLocalAddresses(addresses);
  }

  putNodes(rows: readonly NodeRow[]): void {
    this.#native.putNodes(rows);
  }

  removeNodes(nodeIds: readonly string[]): void {
    this.#native.removeNodes(nodeIds);
  }

  putNetworks(rows: readonly NetworkRow[]): void {
    this.#native.putNetworks(rows);
  }

  removeNetworks(vnis: readonly number[]): void {
    this.#native.removeNetworks(vnis);
  }

  attachLink(row: LinkRow): void {
    this.#native.attachLink(row);
  }

  detachLink(interfaceName: string): void {
    this.#native.detachLink(interfaceName);
  }

  links(): readonly LinkRow[] {
    return this.#native.links();
  }

  setWireguard(rows: readonly WireguardPeerRow[]): void {
    this.#native.setWireguard(rows);
  }

  putRemoteEndpoints(rows: readonly RemoteEndpointRow[]): void {
    this.#native.putRemoteEndpoints(rows);
  }

  removeRemoteEndpoints(rows: readonly { readonly vni: number; readonly address: string }[]): void {
    this.#native.removeRemoteEndpoints(rows);
  }

  putBackends(rows: readonly BackendRow[]): void {
    this.#native.putBackends(rows);
  }

  removeBackends(rows: readonly { readonly vni: number; readonly address: string }[]): void {
    this.#native.removeBackends(rows);
  }

  putServices(rows: readonly ServiceRow[]): void {
    this.#native.putServices(rows);
  }

  removeServices(keys: readonly ServiceKey[]): void {
    this.#native.removeServices(keys);
  }

  dump(): DatapathState {
    return this.#native.dump();
  }

  sendEchoes(tunnelAddresses: readonly string[]): void {
    this.#native.sendEchoes(tunnelAddresses);
  }

  echoReplies(): ReadonlyMap<string, number> {
    return new Map(this.#native.echoReplies());
  }

  sendSummed(nodeId: string, port: number, payload: Uint8Array): void {
    this.#native.sendSummed(nodeId, port, payload);
  }

  softwareChecksums(): boolean {
    return this.#native.softwareChecksums();
  }

  useSoftwareChecksums(): void {
    this.#native.useSoftwareChecksums();
  }

  setDirectWays(rows: readonly DirectWayRow[]): void {
    this.#native.setDirectWays(rows);
  }

  awaitDirectProbes(nonces: readonly Uint8Array[]): void {
    this.#native.awaitDirectProbes(nonces);
  }

  directProbes(): readonly DirectProbeRow[] {
    return this.#native.directProbes();
  }

  sendDirectProbe(tunnelAddress: string, nonce: Uint8Array, packetBytes: number): boolean {
    return this.#native.sendDirectProbe(tunnelAddress, nonce, packetBytes);
  }

  counters(): readonly CounterRow[] {
    return this.#native.counters();
  }

  connections(max: number): readonly ConnectionRow[] {
    return this.#native.connections(max);
  }

  startTrace(filter: TraceFilter): void {
    this.#native.startTrace(filter);
  }

  readTrace(): { readonly rows: readonly TraceRow[]; readonly lost: number } {
    return this.#native.readTrace();
  }

  stopTrace(): void {
    this.#native.stopTrace();
  }

  async repair(): Promise<DatapathRepair> {
    const parts = this.#native.repair();
    return { parts, rules: await this.#rules.check() };
  }

  /** Runs one program on a packet without sending anything: for tests. */
  testRun(program: string, packet: Uint8Array, interfaceIndex: number): TestRunResult {
    return this.#native.testRun(program, packet, interfaceIndex);
  }

  /** Instructions the kernel's verifier walked through, by program: for tests. */
  verifiedInstructions(): Readonly<Record<string, number>> {
    return this.#native.verifiedInstructions();
  }

  close(): void {
    this.#native.close();
  }

  destroy(): void {
    this.#native.destroy();
    this.#rules.remove();
  }
}
