/**
 * The Docker Engine calls the agent makes, over dockerode, with typed results and one error
 * family. An engine that cannot be reached is `unavailable`, which tasks treat as temporary; the
 * engine's own refusals keep its text.
 */
import { readlinkSync } from 'node:fs';
import type Docker from 'dockerode';
import { type ErrorCode, SkepError } from '../model/errors.js';
import { abortedError } from './async.js';

/** The fields of `GET /containers/{id}/json` in use. */
export interface ContainerState {
  readonly id: string;
  readonly running: boolean;
  /** Docker's status word: created, running, exited, dead, ... */
  readonly status: string;
  readonly pid: number;
  readonly exitCode: number;
  readonly error: string;
  readonly health: 'none' | 'starting' | 'healthy' | 'unhealthy';
  readonly tty: boolean;
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Bound host ports by `port/protocol`. */
  readonly ports: Readonly<Record<string, readonly number[]>>;
  /** Names of the networks it is attached to. */
  readonly networks: readonly string[];
  /** Path of its network namespace; empty while it does not run. */
  readonly sandbox: string;
  /** What the image runs commands of a shell with. */
  readonly shell: readonly string[];
}

/** Of images that name none, and all of Linux's. */
export const DEFAULT_SHELL: readonly string[] = ['/bin/sh', '-c'];

/** Of a command that gave none. */
const NO_EXIT_CODE = -1;

/** A local image. */
export interface ImageState {
  readonly id: string;
  readonly repoDigests: readonly string[];
}

/** Options of `GET /containers/{id}/logs`. */
export interface EngineLogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** Number of lines from the end, or all. */
  readonly tail: number | 'all';
  /** `seconds[.nanoseconds]`, or empty. */
  readonly since: string;
}

const CODE_BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_argument',
  401: 'unauthenticated',
  403: 'permission_denied',
  404: 'not_found',
  409: 'already_exists',
  501: 'unimplemented',
  503: 'unavailable',
};

/** An error of dockerode as ours. Without an HTTP status the engine was not there. */
export function engineError(thrown: unknown): SkepError {
  if (thrown instanceof SkepError) return thrown;
  const error = thrown as {
    name?: string;
    statusCode?: number;
    json?: { message?: unknown } | string | null;
    reason?: string;
    message?: string;
    code?: string;
  };
  if (error.name === 'AbortError' || error.code === 'ABORT_ERR') {
    return new SkepError('canceled', 'context canceled');
  }
  if (error.statusCode === undefined) {
    const why = error.message ?? String(thrown);
    return new SkepError('unavailable', `cannot reach the Docker Engine: ${why}`);
  }
  const code = CODE_BY_STATUS[error.statusCode] ?? 'unknown';
  const said = typeof error.json === 'object' ? error.json?.message : undefined;
  const text = typeof said === 'string' ? said : (error.message ?? error.reason ?? 'engine error');
  return new SkepError(code, text, { details: { httpStatus: error.statusCode } });
}

function httpStatus(error: SkepError): number {
  return Number(error.details['httpStatus'] ?? 0);
}

/** Calls of one engine. All reject with SkepError. */
export class EngineClient {
  constructor(private readonly docker: Docker) {}

  /** `GET /info`; fields are checked by the reader. */
  async info(): Promise<Readonly<Record<string, unknown>>> {
    return call<Record<string, unknown>>(() => this.docker.info());
  }

  /** The container, or undefined when there is none. */
  async inspect(idOrName: string): Promise<ContainerState | undefined> {
    try {
      const found = await call(() => this.docker.getContainer(idOrName).inspect());
      return containerState(found);
    } catch (error) {
      if (SkepError.from(error).code === 'not_found') return undefined;
      throw error;
    }
  }

  /** @throws SkepError already_exists when the name is taken; not_found `No such image: ...` */
  async create(name: string, body: Docker.ContainerCreateOptions): Promise<string> {
    const created = await call(() => this.docker.createContainer({ ...body, name }));
    return created.id;
  }

  /** Starts a container; one that runs already is fine. */
  async start(id: string): Promise<void> {
    await tolerating(304, () => this.docker.getContainer(id).start());
  }

  /** Stop signal, grace period, kill. A stopped container is fine. */
  async stop(id: string, graceSeconds: number | undefined): Promise<void> {
    const options = graceSeconds === undefined ? {} : { t: graceSeconds };
    await tolerating(304, () => this.docker.getContainer(id).stop(options));
  }

  /** Removes the container by force, with its anonymous volumes. One that is gone is fine. */
  async remove(id: string): Promise<void> {
    const remove = (): Promise<unknown> =>
      this.docker.getContainer(id).remove({ force: true, v: true });
    try {
      await tolerating(404, remove);
    } catch (thrown) {
      // "removal of container ... is already in progress": somebody else does it.
      const error = SkepError.from(thrown);
      if (httpStatus(error) !== 409 || !error.message.includes('in progress')) throw error;
    }
  }

  /** Attaches a container that does not run yet to one more network. */
  async connect(networkId: string, containerId: string, address: string): Promise<void> {
    const ipam = address === '' ? {} : { IPAMConfig: { IPv4Address: address } };
    const body: object = { Container: containerId, EndpointConfig: ipam };
    await call<unknown>(() => this.docker.getNetwork(networkId).connect(body));
  }

  /**
   * Runs a command in a container to its end, its output thrown away. When `signal` aborts it is killed,
   * with all that it started and did not set apart.
   * @returns its exit code
   */
  async runInContainer(
    { id, pid }: Pick<ContainerState, 'id' | 'pid'>,
    command: readonly string[],
    signal: AbortSignal,
  ): Promise<number> {
    const options = { Cmd: [...command], AttachStdout: true, AttachStderr: true };
    const made = await call(() =>
      this.docker.getContainer(id).exec({ ...options, abortSignal: signal }),
    );
    try {
      const output = await call(() => made.start({ abortSignal: signal }));
      await drained(output, signal);
      const { Running, ExitCode } = await call(() => made.inspect({ abortSignal: signal }));
      // One that closed its output and runs on gives no answer, as in Docker's health checks.
      return Running ? NO_EXIT_CODE : (ExitCode ?? NO_EXIT_CODE);
    } catch (error) {
      // Not waited for: an engine that hangs must not hold up who gave up on it.
      if (signal.aborted) void this.kill(made, pid);
      throw error;
    }
  }

  /** Ends a command in the container whose first process is `pid`. */
  private async kill(command: Docker.Exec, pid: number): Promise<void> {
    try {
      const { Running, Pid } = await call(() => command.inspect());
      if (Running) killInside(Pid, pid);
    } catch {
      // It ended by itself, or with its container.
    }
  }

  /** Ids and labels of all containers that carry all these labels. */
  async list(
    labels: readonly string[],
  ): Promise<readonly { id: string; labels: Readonly<Record<string, string>> }[]> {
    const filters = { label: [...labels] };
    const found = await call(() => this.docker.listContainers({ all: true, filters }));
    return found.map((container) => ({ id: container.Id, labels: container.Labels ?? {} }));
  }

  /** A local image, or undefined. */
  async image(reference: string): Promise<ImageState | undefined> {
    try {
      const found = await call(() => this.docker.getImage(reference).inspect());
      return { id: found.Id, repoDigests: found.RepoDigests ?? [] };
    } catch (error) {
      if (SkepError.from(error).code === 'not_found') return undefined;
      throw error;
    }
  }

  /** Begins a pull; the stream carries JSON progress, and an `error` member on failure. */
  async pull(
    reference: string,
    registryAuth: string,
    signal: AbortSignal,
  ): Promise<NodeJS.ReadableStream> {
    const auth = registryAuth === '' ? undefined : { key: registryAuth };
    return call(() => this.docker.createImage(auth, { fromImage: reference, abortSignal: signal }));
  }

  /**
   * The container events of tasks since a moment (ms), as newline-delimited JSON. Starts are left
   * out: they are ours, and the call says when they are done.
   */
  async events(sinceMs: number, signal: AbortSignal): Promise<NodeJS.ReadableStream> {
    const filters = {
      type: ['container'],
      event: ['die', 'destroy', 'health_status'],
      label: ['com.docker.swarm.task.id'],
    };
    const query = { filters, since: sinceMs / 1000, abortSignal: signal };
    return call(() => this.docker.getEvents(query as Docker.GetEventsOptions));
  }

  /** CPU time the container has used since its start, nanoseconds; undefined if the engine does not say. */
  async cpuTimeNs(id: string): Promise<number | undefined> {
    const options = { stream: false, 'one-shot': true } as const;
    const stats = await call(() => this.docker.getContainer(id).stats(options));
    // Of a container that does not run the engine sends empty statistics.
    const used: unknown = stats.cpu_stats?.cpu_usage?.total_usage;
    return typeof used === 'number' && used > 0 ? used : undefined;
  }

  /** The raw log stream, with timestamps and details in front of each line. */
  async logs(
    id: string,
    options: EngineLogOptions,
    signal: AbortSignal,
  ): Promise<NodeJS.ReadableStream> {
    const query = {
      stdout: options.stdout,
      stderr: options.stderr,
      tail: String(options.tail),
      timestamps: true,
      details: true,
      follow: options.follow,
      ...(options.since === '' ? {} : { since: options.since }),
    };
    // Dialled here: dockerode buffers a log that is not followed, this streams it.
    const request = {
      path: `/containers/${id}/logs?`,
      method: 'GET',
      isStream: true,
      options: query,
      abortSignal: signal,
      statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
    };
    return new Promise((resolve, reject) => {
      this.docker.modem.dial(request, (error: unknown, stream: unknown) => {
        if (error === null || error === undefined) resolve(stream as NodeJS.ReadableStream);
        else reject(engineError(error));
      });
    });
  }
}

/** Reads all of it, and keeps nothing. */
function drained(output: NodeJS.ReadableStream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortedError());
    const finish = (): void => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    };
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    output.on('error', finish).on('end', finish).on('close', finish).resume();
  });
}

/**
 * Kills the session of a process that an engine on this host says is in the container of another one;
 * an engine in another PID namespace would mean somebody else's.
 */
function killInside(pid: number, containerPid: number): void {
  const namespaceOf = (of: number | 'self'): string => readlinkSync(`/proc/${of}/ns/pid`);
  const inside = namespaceOf(containerPid);
  if (pid <= 1 || namespaceOf(pid) !== inside || inside === namespaceOf('self')) return;
  process.kill(-pid, 'SIGKILL');
}

async function call<R>(work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    throw engineError(error);
  }
}

async function tolerating(status: number, work: () => Promise<unknown>): Promise<void> {
  try {
    await call(work);
  } catch (thrown) {
    const error = SkepError.from(thrown);
    if (httpStatus(error) !== status) throw error;
  }
}

/** `SHELL` of the image, as Docker's health checks use it. */
function shellOf(config: object): readonly string[] {
  const { Shell } = config as { readonly Shell?: unknown };
  const given = Array.isArray(Shell) ? Shell.filter((part) => typeof part === 'string') : [];
  return given.length > 0 ? given : DEFAULT_SHELL;
}

function containerState(found: Docker.ContainerInspectInfo): ContainerState {
  const health = found.State.Health?.Status;
  const ports: Record<string, number[]> = {};
  for (const [key, bindings] of Object.entries(found.NetworkSettings?.Ports ?? {})) {
    ports[key] = (bindings ?? []).map((binding) => Number(binding.HostPort));
  }
  return {
    id: found.Id,
    running: found.State.Running,
    status: found.State.Status,
    pid: found.State.Pid,
    exitCode: found.State.ExitCode,
    error: found.State.Error,
    health:
      health === 'starting' || health === 'healthy' || health === 'unhealthy' ? health : 'none',
    tty: found.Config.Tty,
    hostname: found.Config.Hostname ?? '',
    labels: found.Config.Labels ?? {},
    ports,
    networks: Object.keys(found.NetworkSettings?.Networks ?? {}),
    sandbox: found.NetworkSettings?.SandboxKey ?? '',
    shell: shellOf(found.Config),
  };
}
