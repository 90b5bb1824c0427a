/**
 * Carries a plan out: what is pruned, networks, secrets and configs, services in the order of their
 * dependencies, waiting, and then what is not used any more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type RegistryAuth, registryAuthFor } from '../../agent/registry-credentials.js';
import { SkepError } from '../../model/errors.js';
import { differences } from '../../stack/diff.js';
import {
  IMAGE_LABEL,
  type NetworkSpec,
  type ServiceSpec,
  type SwarmObject,
  type SwarmService,
} from '../../stack/swarm-spec.js';
import { pinImage, withImage, withTag } from './image-digest.js';
import {
  changesOf,
  type ObjectPlan,
  type Plan,
  planObject,
  type ServicePlan,
  specOf,
} from './plan.js';
import { Rollout } from './rollout.js';
import type { ObjectKind, SwarmApi } from './swarm-api.js';

/** When the registry is asked for an image's digest. */
export type ResolveImage = 'always' | 'changed' | 'never';

/** How to deploy. */
export interface DeployOptions {
  readonly prune: boolean;
  readonly detach: boolean;
  readonly withRegistryAuth: boolean;
  readonly resolveImage: ResolveImage;
  readonly timeoutMs: number;
}

/** Where lines go: what is done, and what should be known. */
export interface Output {
  readonly tell: (line: string) => void;
  readonly warn: (line: string) => void;
}

const REMOVAL_TRIES_MS = 30_000;
const REMOVAL_PERIOD_MS = 500;
/** How often another deployment may be faster at one object before it is an error. */
const CONFLICTS_MAX = 5;

/** Whether something is there, or has been changed, since it was looked at. */
function isConflict(error: unknown): boolean {
  const { code } = SkepError.from(error);
  return code === 'already_exists' || code === 'aborted';
}

/** One deployment of one stack. */
export class Deployment {
  /** Ids of what was made, by kind and name. */
  readonly #ids = new Map<string, string>();
  /** Secrets and configs as they have become. */
  readonly #objects: ObjectPlan[] = [];
  /** Keys of services whose tasks are replaced. */
  readonly #changed = new Set<string>();
  /** Names of services that were updated. */
  readonly #updated = new Set<string>();
  readonly #rollout: Rollout;

  constructor(
    private readonly plan: Plan,
    private readonly api: SwarmApi,
    private readonly options: DeployOptions,
    private readonly output: Output,
  ) {
    const { namespace } = plan;
    this.#rollout = new Rollout(api, namespace.name, options.timeoutMs, output.tell);
  }

  /** @throws SkepError of the API; deadline_exceeded, aborted when services do not come up */
  async run(): Promise<void> {
    const { plan, api, output, options } = this;
    if (options.prune)
      for (const { ID, Spec } of plan.leftovers.services) {
        output.tell(`Removing service ${Spec.Name}`);
        await api.remove('service', ID);
      }
    for (const network of plan.newNetworks) await this.#deployNetwork(network);
    await this.#deployObjects();
    for (const service of plan.services) {
      await this.#waitForDependencies(service.key);
      await this.#deployService(service);
    }
    if (options.detach) return;
    await this.#rollout.wait(
      plan.services.map(({ spec }) => spec.Name),
      'running',
      this.#updated,
    );
    await this.#removeUnused();
  }

  async #deployNetwork(network: NetworkSpec): Promise<void> {
    const { api, output } = this;
    output.tell(`Creating network ${network.Name}`);
    await this.#attempt('create network', network.Name, async () => {
      try {
        await api.createNetwork(network);
      } catch (error) {
        // Another deployment of the stack may have made it meanwhile.
        const networks = isConflict(error) ? await api.networks() : [];
        const made = networks.find(({ Name }) => Name === network.Name);
        if (!this.plan.namespace.owns(made?.Labels)) throw error;
      }
    });
  }

  async #deployObjects(): Promise<void> {
    for (const object of this.plan.objects) this.#objects.push(await this.#deployObject(object));
  }

  /** @returns the plan that was carried out: another deployment may have made versions meanwhile. */
  async #deployObject(planned: ObjectPlan): Promise<ObjectPlan> {
    const { api, output, plan } = this;
    let object = planned;
    for (let conflicts = 0; ; conflicts++) {
      const { kind, key, spec, first } = object;
      try {
        await this.#makeObject(object);
        return object;
      } catch (error) {
        if (!isConflict(error) || conflicts === CONFLICTS_MAX) throw error;
        output.tell(`${kind} ${spec.Name} has been changed meanwhile: looking again`);
        object = await planObject(kind, key, first, plan.namespace, await api.objects(kind), api);
      }
    }
  }

  async #makeObject({ kind, spec, existing, old }: ObjectPlan): Promise<void> {
    const { api, output } = this;
    if (existing === undefined) {
      const last = old.at(-1);
      output.tell(
        `Creating ${kind} ${spec.Name}${last === undefined ? '' : `, new content of ${last.Spec.Name}`}`,
      );
      const make = () => api.createObject(kind, spec);
      const id = await this.#attempt(`create ${kind}`, spec.Name, make);
      this.#ids.set(`${kind} ${spec.Name}`, id);
    } else if (differences(existing.Spec.Labels, spec.Labels).length > 0) {
      output.tell(`Updating ${kind} ${spec.Name} (id: ${existing.ID})`);
      const labelled = { ...existing.Spec, Labels: spec.Labels };
      await this.#attempt(`update ${kind}`, spec.Name, () =>
        api.updateObject(kind, existing, labelled),
      );
    }
  }

  async #waitForDependencies(key: string): Promise<void> {
    const { project, namespace } = this.plan;
    const dependencies = Object.entries(project.services.get(key)?.depends_on ?? {});
    const named = (isJob: boolean) =>
      dependencies
        .filter(([other]) => project.services.has(other))
        .filter(([, { condition }]) => (condition === 'service_completed_successfully') === isJob)
        .map(([other]) => namespace.scope(other));
    await this.#rollout.wait(named(false), 'running', this.#updated);
    await this.#rollout.wait(named(true), 'completed', this.#updated);
  }

  async #deployService(planned: ServicePlan): Promise<void> {
    const { api, output, plan } = this;
    let { current } = planned;
    for (let conflicts = 0; ; conflicts++) {
      try {
        await this.#makeService(planned.key, current);
        return;
      } catch (error) {
        if (!isConflict(error) || conflicts === CONFLICTS_MAX) throw error;
        const { Name: name } = planned.spec;
        const services = await api.services(plan.namespace.name);
        const found = services.find(({ Spec }) => Spec.Name === name);
        // The name is somebody else's.
        if (found === undefined && current === undefined) throw error;
        output.tell(`Service ${name} has been changed meanwhile: looking again`);
        current = found;
      }
    }
  }

  async #makeService(key: string, current: SwarmService | undefined): Promise<void> {
    const { plan, api, output, options } = this;
    const spec = specOf(key, { ...plan, objects: this.#objects }, this.#ids);
    const image = spec.TaskTemplate.ContainerSpec.Image;
    const auth = options.withRegistryAuth ? await registryAuthFor(image) : undefined;
    if (current === undefined) {
      output.tell(`Creating service ${spec.Name}`);
      const asks = options.resolveImage !== 'never';
      const pinned = asks ? await this.#pin(spec, auth) : withImage(spec, withTag(image), {});
      await this.#attempt('create service', spec.Name, () => api.createService(pinned, auth));
      return;
    }
    const isSame = current.Spec.Labels[IMAGE_LABEL] === image;
    const { resolveImage } = options;
    const asks = resolveImage === 'always' || (resolveImage === 'changed' && !isSame);
    const kept = isSame ? current.Spec.TaskTemplate.ContainerSpec.Image : withTag(image);
    const platforms = current.Spec.TaskTemplate.Placement?.['Platforms'];
    const pinned = asks
      ? await this.#pin(spec, auth)
      : withImage(spec, kept, isSame && platforms ? { Platforms: platforms } : {});
    const restarts = Object.entries(plan.project.services.get(key)?.depends_on ?? {}).some(
      ([other, { restart = false }]) => restart && this.#changed.has(other),
    );
    const force = (current.Spec.TaskTemplate.ForceUpdate ?? 0) + (restarts ? 1 : 0);
    const changes = changesOf(current, pinned, plan.state.networks);
    if (changes.some((change) => change.startsWith('TaskTemplate.'))) this.#changed.add(key);
    if (changes.length === 0 && !restarts && auth === undefined) {
      output.tell(`Service ${spec.Name} is up to date`);
      return;
    }
    this.#updated.add(spec.Name);
    output.tell(`Updating service ${spec.Name} (id: ${current.ID})`);
    const updated = { ...pinned, TaskTemplate: { ...pinned.TaskTemplate, ForceUpdate: force } };
    await this.#attempt('update service', spec.Name, () =>
      api.updateService(current, updated, auth),
    );
  }

  async #pin(spec: ServiceSpec, auth: RegistryAuth | undefined): Promise<ServiceSpec> {
    return pinImage(spec, this.api, auth, this.output.warn);
  }

  /** Old versions, and with `--prune` what is not in the files. */
  async #removeUnused(): Promise<void> {
    const { leftovers, namespace } = this.plan;
    const prune = this.options.prune;
    const unused: Readonly<Record<ObjectKind, SwarmObject[]>> = { secret: [], config: [] };
    for (const { kind, old } of this.#objects) unused[kind].push(...old);
    if (prune) {
      unused.secret.push(...leftovers.secrets);
      unused.config.push(...leftovers.configs);
    }
    const tasks = await this.api.tasksOfStack(namespace.name);
    const inUse = JSON.stringify(
      tasks
        .filter(({ DesiredState }) => DesiredState === 'running' || DesiredState === 'ready')
        .map(({ Spec }) => [Spec.ContainerSpec['Secrets'], Spec.ContainerSpec['Configs']]),
    );
    for (const kind of ['secret', 'config'] as const)
      for (const { ID, Spec } of unused[kind]) {
        if (inUse.includes(`"${ID}"`))
          this.output.warn(`${kind} ${Spec.Name} is still used, and stays`);
        else await this.#remove(kind, ID, Spec.Name, 0);
      }
    if (!prune) return;
    for (const { Id, Name } of leftovers.networks)
      await this.#remove('network', Id, Name, REMOVAL_TRIES_MS);
  }

  /** Removes what nobody uses; somebody else's service may. */
  async #remove(
    kind: 'network' | ObjectKind,
    id: string,
    name: string,
    patienceMs: number,
  ): Promise<void> {
    const end = performance.now() + patienceMs;
    for (;;) {
      try {
        await this.api.remove(kind, id);
        this.output.tell(`Removing ${kind} ${name}`);
        return;
      } catch (error) {
        // Tasks that are being stopped are on their networks until they have ended.
        if (performance.now() >= end) {
          this.output.warn(`${kind} ${name} stays: ${SkepError.from(error).message}`);
          return;
        }
      }
      await sleep(REMOVAL_PERIOD_MS);
    }
  }

  async #attempt<T>(what: string, name: string, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      const { code, message } = SkepError.from(error);
      throw new SkepError(code, `failed to ${what} ${name}: ${message}`, { cause: error });
    }
  }
}
