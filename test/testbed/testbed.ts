/**
 * The testbed: Docker hosts out of namespaces, each with a real Docker Engine and its own skepd,
 * one underlay between them and an outside client.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type CommandResult, must, run, waitFor } from './commands.js';
import { CGROUP_PARENT, startEngine, waitForApi } from './engine.js';
import { importImages } from './images.js';
import {
  CLIENT_NAMESPACE,
  HOSTS_MAX,
  type HostLayout,
  hostLayout,
  skepProgram,
  testbedRoot,
} from './layout.js';
import {
  createHostNetwork,
  createUnderlay,
  deleteNamespace,
  insideHost,
  killHolder,
  namespaceNames,
  processStartTicks,
  removeCgroups,
  startHolder,
} from './namespaces.js';
import { skepdPid, startSkepd } from './skepd.js';
import {
  type HostState,
  type ProcessIdentity,
  type TestbedState,
  readState,
  removeState,
  writeState,
} from './state.js';

const ENGINE_START_TIMEOUT_MS = 60_000;
const SKEPD_START_TIMEOUT_MS = 30_000;
const IP_FORWARD = '/proc/sys/net/ipv4/ip_forward';

/** Options of {@link up}. */
export interface UpOptions {
  /** Hosts without skepd: all, or these names. */
  readonly noSkep?: 'all' | readonly string[];
  readonly liveRestore?: boolean;
  /** Further arguments of every dockerd; not kept when it is started again. */
  readonly engineArgs?: readonly string[];
  /** It outlives this process; otherwise the next `up` removes it once this process has ended. */
  readonly stays?: boolean;
  /** Progress, a line each. */
  readonly report?: (line: string) => void;
}

/** A running host. */
export interface Host extends HostLayout {
  readonly holderPid: number;
}

/** Makes `count` hosts and waits until every engine and every skepd answers. Cleans up if it fails. */
export async function up(count: number, options: UpOptions = {}): Promise<readonly Host[]> {
  if (!Number.isInteger(count) || count < 1 || count > HOSTS_MAX)
    throw new Error(`testbed: the number of hosts must be 1 to ${HOSTS_MAX}`);
  const former = readState();
  if (former !== undefined && !isAbandoned(former))
    throw new Error('testbed: already up: run `down` first');
  await down();
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  await requireFreeNames(numbers);
  let state: TestbedState = {
    owner: thisProcess(),
    hosts: numbers.map((number) => ({
      number,
      skep: hasSkep(hostLayout(number).name, options.noSkep),
      liveRestore: options.liveRestore ?? false,
    })),
  };
  writeState(state);
  try {
    state = { ...state, ...enableForwarding(options) };
    writeState(state);
    options.report?.(`making ${count} hosts`);
    await createUnderlay();
    for (const number of numbers) {
      const started = await startHost(number, options);
      state = {
        ...state,
        hosts: state.hosts.map((host) => (host.number === number ? { ...host, ...started } : host)),
      };
      writeState(state);
    }
    await Promise.all(state.hosts.map(waitForEngine));
    options.report?.('engines answer; importing images');
    for (const host of state.hosts) await importImages(hostLayout(host.number).dockerSocket);
    const hosts = requireHosts(state);
    await startAllSkepd(state, hosts, options);
    if (options.stays === true) disown(state);
    return hosts;
  } catch (error) {
    await down();
    throw error;
  }
}

function thisProcess(): ProcessIdentity {
  const startTicks = processStartTicks(process.pid);
  if (startTicks === undefined) throw new Error('testbed: /proc does not show this process');
  return { pid: process.pid, startTicks };
}

function disown(state: TestbedState): void {
  const { owner: _, ...rest } = state;
  writeState(rest);
}

/** Its owner was killed before it could take it down, or the machine was started again. */
function isAbandoned(state: TestbedState): boolean {
  if (state.owner !== undefined) return !isRunning(state.owner.pid, state.owner.startTicks);
  return !state.hosts.some((host) => isRunning(host.holderPid, host.holderStartTicks));
}

function isRunning(pid: number | undefined, startTicks: string | undefined): boolean {
  return pid !== undefined && startTicks !== undefined && processStartTicks(pid) === startTicks;
}

/** What has these names already is not ours: neither to use nor, if `up` fails, to remove. */
async function requireFreeNames(numbers: readonly number[]): Promise<void> {
  const wanted = [CLIENT_NAMESPACE, ...numbers.map((number) => hostLayout(number).name)];
  const taken = (await namespaceNames()).filter((name) => wanted.includes(name));
  if (taken.length === 0) return;
  throw new Error(
    `testbed: the network namespaces ${taken.join(', ')} exist already: another testbed is up ` +
      `(its SKEP_TESTBED is not ${testbedRoot()}), or something else has these names`,
  );
}

function hasSkep(name: string, noSkep: UpOptions['noSkep']): boolean {
  return noSkep !== 'all' && !(noSkep ?? []).includes(name);
}

/**
 * Stock Swarm's own ingress namespace inherits forwarding from the initial namespace: without it
 * the stock mesh silently drops.
 */
function enableForwarding(options: UpOptions): Pick<TestbedState, 'ipForwardBefore'> {
  const before = readFileSync(IP_FORWARD, 'utf8').trim();
  if (options.noSkep === undefined || before === '1') return {};
  writeFileSync(IP_FORWARD, '1');
  return { ipForwardBefore: before };
}

async function startHost(
  number: number,
  options: UpOptions,
): Promise<Pick<HostState, 'holderPid' | 'holderStartTicks'>> {
  const layout = hostLayout(number);
  rmSync(layout.directory, { recursive: true, force: true });
  mkdirSync(layout.directory, { recursive: true, mode: 0o755 });
  await createHostNetwork(layout);
  const holderPid = await startHolder(layout);
  const { liveRestore = false, engineArgs = [] } = options;
  startEngine(layout, holderPid, { liveRestore }, engineArgs);
  const holderStartTicks = processStartTicks(holderPid);
  if (holderStartTicks === undefined) throw new Error(`${layout.name}: its holder ended`);
  return { holderPid, holderStartTicks };
}

async function waitForEngine(host: HostState): Promise<void> {
  const layout = hostLayout(host.number);
  await waitForApi(
    `engine of ${layout.name} (see ${layout.engineLog})`,
    layout.dockerSocket,
    ENGINE_START_TIMEOUT_MS,
  );
}

async function startAllSkepd(
  state: TestbedState,
  hosts: readonly Host[],
  options: UpOptions,
): Promise<void> {
  const withSkep = hosts.filter(
    (host) => state.hosts.find((entry) => entry.number === host.number)?.skep === true,
  );
  if (withSkep.length > 0) options.report?.('starting skepd');
  for (const host of withSkep) startSkepd(host, host.holderPid);
  await Promise.all(withSkep.map(waitForSkepd));
}

async function waitForSkepd(host: HostLayout): Promise<void> {
  await waitForApi(
    `skepd of ${host.name} (see ${host.skepLog})`,
    host.skepSocket,
    SKEPD_START_TIMEOUT_MS,
  );
}

function requireHosts(state: TestbedState): readonly Host[] {
  return state.hosts.map((host) => {
    if (host.holderPid === undefined) throw new Error(`h${host.number} was not started`);
    return { ...hostLayout(host.number), holderPid: host.holderPid };
  });
}

/** Hosts of the running testbed. */
export function runningHosts(): readonly Host[] {
  const state = readState();
  return state === undefined ? [] : requireHosts(state);
}

/** Removes everything `up` made, also after a crash; no error when nothing is up. */
export async function down(): Promise<void> {
  const state = readState();
  if (state === undefined) return;
  for (const host of state.hosts) {
    if (host.holderPid !== undefined && host.holderStartTicks !== undefined)
      await killHolder(host.holderPid, host.holderStartTicks);
  }
  for (const host of state.hosts) await deleteNamespace(hostLayout(host.number).name);
  await deleteNamespace(CLIENT_NAMESPACE);
  await removeCgroups(CGROUP_PARENT);
  for (const host of state.hosts) await removeHostFiles(hostLayout(host.number));
  if (state.ipForwardBefore !== undefined) writeFileSync(IP_FORWARD, state.ipForwardBefore);
  removeState();
}

/** Removes a host's data; its logs stay for whoever wants to know what happened. */
async function removeHostFiles(host: HostLayout): Promise<void> {
  const names = ['data', 'exec', 'skep', 'bpf', 'docker.sock', 'skep.sock', 'engine.pid'];
  await run('rm', ['-rf', ...names.map((name) => `${host.directory}/${name}`)]);
}

/** Runs a command inside a host. */
export async function inHost(
  host: Host,
  command: readonly string[],
  timeoutMs = 60_000,
): Promise<CommandResult> {
  return await run('nsenter', [...insideHost(host.holderPid), ...command], { timeoutMs });
}

/** Runs a command as the outside client. */
export async function inClient(
  command: readonly string[],
  timeoutMs = 60_000,
): Promise<CommandResult> {
  return await run('nsenter', [`--net=/var/run/netns/${CLIENT_NAMESPACE}`, ...command], {
    timeoutMs,
  });
}

/** The stock docker CLI against a socket. */
export async function docker(
  socket: string,
  args: readonly string[],
  timeoutMs = 120_000,
): Promise<CommandResult> {
  return await run('/usr/bin/docker', ['-H', `unix://${socket}`, ...args], { timeoutMs });
}

/** The `skep` command against a host's skepd; `args` begin with the command and its subcommand. */
export async function skep(
  host: Host,
  args: readonly string[],
  timeoutMs = 60_000,
): Promise<CommandResult> {
  const program = skepProgram();
  return await run(process.execPath, [program, ...args, '--api-socket', host.skepSocket], {
    timeoutMs,
  });
}

/** As {@link docker}, but throws when it fails; returns trimmed standard output. */
export async function mustDocker(
  socket: string,
  args: readonly string[],
  timeoutMs = 120_000,
): Promise<string> {
  const output = await must('/usr/bin/docker', ['-H', `unix://${socket}`, ...args], { timeoutMs });
  return output.trim();
}

/** What `/who` answered: the container's hostname and the client address it saw. */
export interface WhoAnswer {
  readonly hostname: string;
  readonly clientAddress: string;
}

/** Asks `http://address:port/who` as the outside client; undefined when there is no answer. */
export async function askWho(
  address: string,
  port: number,
  timeoutS = 5,
): Promise<WhoAnswer | undefined> {
  const host = address.includes(':') ? `[${address}]` : address;
  const url = `http://${host}:${port}/who`;
  const command = ['curl', '-sf', '--max-time', String(timeoutS), url];
  const result = await inClient(command, (timeoutS + 5) * 1000);
  const [hostname, clientAddress] = result.stdout.trim().split(' ');
  if (result.code !== 0 || !hostname || !clientAddress) return undefined;
  return { hostname, clientAddress };
}

/** kill -9 of a host's skepd; its containers and packet side go on. */
export async function killSkepd(host: Host): Promise<void> {
  await endSkepd(host, 'SIGKILL');
}

async function endSkepd(host: Host, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const pid = skepdPid(host);
  if (pid === undefined) throw new Error(`${host.name}: no skepd runs`);
  process.kill(pid, signal);
  await waitFor(`end of skepd of ${host.name}`, 20_000, async () =>
    skepdPid(host) === undefined ? true : undefined,
  );
}

/** Ends a host's skepd cleanly, as a package upgrade would. */
export async function stopSkepd(host: Host): Promise<void> {
  await endSkepd(host, 'SIGTERM');
}

/**
 * Starts a host's skepd again, with these variables and arguments added, out of a package that may be
 * another one, and waits until it answers.
 */
export async function restartSkepd(
  host: Host,
  environment: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
  root?: string,
): Promise<void> {
  startSkepd(host, host.holderPid, environment, args, root);
  await waitForSkepd(host);
}
