/**
 * The calls of the Docker API that deploying a stack takes, to the host of `-H` or `DOCKER_HOST` (a
 * socket, TCP with TLS as for the docker CLI, or ssh).
 */
import Docker from 'dockerode';
import type { RegistryAuth } from '../../agent/registry-credentials.js';
import { type ErrorCode, SkepError } from '../../model/errors.js';
import {
  type Labels,
  NAMESPACE_LABEL,
  type NetworkSpec,
  type ObjectSpec,
  type ServiceSpec,
  type SwarmNetwork,
  type SwarmObject,
  type SwarmService,
  type SwarmTask,
} from '../../stack/swarm-spec.js';

const TIMEOUT_MS = 60_000;

/** Secrets and configs have the same routes. */
export type ObjectKind = 'secret' | 'config';

/** What a registry tells of an image. */
export interface ImageDescription {
  readonly Descriptor: { readonly digest: string };
  readonly Platforms?: readonly { readonly architecture?: string; readonly os?: string }[] | null;
}

interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly auth?: RegistryAuth | undefined;
}

/** A Docker API server that manages a swarm. */
export class SwarmApi {
  readonly #modem: Docker['modem'];

  /** @param host `unix:///path`, `tcp://host:port` or `ssh://user@host` */
  constructor(host: string) {
    // The client reads the host and its TLS files from the environment, as the docker CLI does.
    process.env['DOCKER_HOST'] = host;
    try {
      this.#modem = new Docker({ timeout: TIMEOUT_MS }).modem;
    } catch (cause) {
      throw new SkepError('invalid_argument', SkepError.from(cause).message, { cause });
    }
  }

  /** @throws SkepError failed_precondition in the words of the docker CLI */
  async checkManager(): Promise<void> {
    const info = (await this.#call({ method: 'GET', path: '/info' })) as {
      readonly Swarm?: { readonly ControlAvailable?: boolean };
    };
    if (info.Swarm?.ControlAvailable !== true)
      throw new SkepError(
        'failed_precondition',
        'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to ' +
          'connect this node to swarm and try again',
      );
  }

  /** Labels of the cluster object. */
  async clusterLabels(): Promise<Labels> {
    const { Spec } = (await this.#call({ method: 'GET', path: '/swarm' })) as {
      readonly Spec?: { readonly Labels?: Labels | null };
    };
    return Spec?.Labels ?? {};
  }

  /** Services of a stack, with counts of tasks. */
  async services(stack: string): Promise<readonly SwarmService[]> {
    return this.#list('/services', { status: 'true', filters: ofStack(stack) });
  }

  /** All tasks of a service. */
  async tasks(serviceId: string): Promise<readonly SwarmTask[]> {
    return this.#list('/tasks', { filters: { service: [serviceId] } });
  }

  /** All tasks of a stack. */
  async tasksOfStack(stack: string): Promise<readonly SwarmTask[]> {
    return this.#list('/tasks', { filters: ofStack(stack) });
  }

  /** Networks, also those of no stack. */
  async networks(): Promise<readonly SwarmNetwork[]> {
    return this.#list('/networks', {});
  }

  /** Secrets or configs, also those of no stack. */
  async objects(kind: ObjectKind): Promise<readonly SwarmObject[]> {
    return this.#list(`/${kind}s`, {});
  }

  /** @returns its id */
  async createService(spec: ServiceSpec, auth: RegistryAuth | undefined): Promise<string> {
    return idOf(await this.#call({ method: 'POST', path: '/services/create', body: spec, auth }));
  }

  async updateService(
    service: SwarmService,
    spec: ServiceSpec,
    auth: RegistryAuth | undefined,
  ): Promise<void> {
    const query = {
      version: service.Version.Index,
      // Without new ones the service keeps its credentials.
      ...(auth === undefined ? { registryAuthFrom: 'spec' } : {}),
    };
    const path = `/services/${service.ID}/update`;
    await this.#call({ method: 'POST', path, query, body: spec, auth });
  }

  async createNetwork(spec: NetworkSpec): Promise<void> {
    await this.#call({ method: 'POST', path: '/networks/create', body: spec });
  }

  /** @returns its id */
  async createObject(kind: ObjectKind, spec: ObjectSpec): Promise<string> {
    return idOf(await this.#call({ method: 'POST', path: `/${kind}s/create`, body: spec }));
  }

  /** Changes labels; everything else must be as it is. */
  async updateObject(kind: ObjectKind, object: SwarmObject, spec: ObjectSpec): Promise<void> {
    const query = { version: object.Version.Index };
    await this.#call({ method: 'POST', path: `/${kind}s/${object.ID}/update`, query, body: spec });
  }

  /**
   * Whether a secret or config has this content. Contents of secrets cannot be read: an update that
   * is bound to fail is tried, since a swarm compares content (refused with `only updates to Labels
   * are allowed`) before the version, which no object has.
   */
  async hasContent(kind: ObjectKind, object: SwarmObject, data: string): Promise<boolean> {
    if (object.Spec.Data !== undefined) return object.Spec.Data === data;
    const path = `/${kind}s/${object.ID}/update`;
    const body = { ...object.Spec, Data: data };
    try {
      await this.#call({ method: 'POST', path, query: { version: 0 }, body });
    } catch (error) {
      const { message } = SkepError.from(error);
      if (message.includes('only updates to Labels are allowed')) return false;
      if (message.includes('update out of sequence')) return true;
      throw error;
    }
    return true;
  }

  async remove(kind: 'service' | 'network' | ObjectKind, id: string): Promise<void> {
    await this.#call({ method: 'DELETE', path: `/${kind}s/${id}` });
  }

  /** What the registry says of an image. */
  async describeImage(image: string, auth: RegistryAuth | undefined): Promise<ImageDescription> {
    const path = `/distribution/${image}/json`;
    return (await this.#call({ method: 'GET', path, auth })) as ImageDescription;
  }

  async #list<T>(path: string, query: Readonly<Record<string, unknown>>): Promise<readonly T[]> {
    const answer = await this.#call({ method: 'GET', path, query });
    return Array.isArray(answer) ? (answer as T[]) : [];
  }

  async #call({ method, path, query = {}, body, auth }: Call): Promise<unknown> {
    const options = {
      path: `${path}?`,
      method,
      ...(auth === undefined ? {} : { authconfig: auth }),
      options: { _query: query, ...(body === undefined ? {} : { _body: body }) },
      statusCodes: { 200: true, 201: true, 204: true },
    };
    return new Promise((resolve, reject) => {
      this.#modem.dial(options, (error: unknown, data: unknown) => {
        if (error === null || error === undefined) resolve(data);
        else reject(refusal(error));
      });
    });
  }
}

function ofStack(stack: string): Readonly<Record<string, readonly string[]>> {
  return { label: [`${NAMESPACE_LABEL}=${stack}`] };
}

function idOf(answer: unknown): string {
  const { ID, Id } = answer as { readonly ID?: string; readonly Id?: string };
  return ID ?? Id ?? '';
}

function refusal(error: unknown): SkepError {
  const { json, statusCode } = error as { readonly json?: unknown; readonly statusCode?: number };
  const message =
    typeof json === 'object' && json !== null && 'message' in json
      ? `Error response from daemon: ${String(json.message)}`
      : SkepError.from(error).message;
  return new SkepError(codeOf(statusCode, message), message);
}

function codeOf(status: number | undefined, message: string): ErrorCode {
  if (status === 404) return 'not_found';
  // Stock engines answer 500 where a service has been changed meanwhile.
  if (message.includes('update out of sequence')) return 'aborted';
  return status === 409 ? 'already_exists' : 'unknown';
}
