/**
 * Carries a plan out: what is pruned, networks, secrets and configs, services in the order of their
 * dependencies, waiting, and then what is not used any more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type RegistryAuth, registryAuthFor } from '../../agent/registry-credentials.js';
import { SkepError } from '../../model/errors.js';
import { differences } from '../../stack/diff.js';
import { IMAGE_LABEL, type ServiceSpec, type SwarmObject } from '../../stack/swarm-spec.js';
import { pinImage, withImage, withTag } from './image-digest.js';
import { changesOf, type Plan, type ServicePlan, specOf } from './plan.js';
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

/** One deployment of one stack. */
export class Deployment {
  /** Ids of what was made, by kind and name. */
  readonly #ids = new Map<string, string>();
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
    for (const network of plan.newNetworks) {
      output.tell(`Creating network ${network.Name}`);
      await this.#attempt('create network', network.Name, () => api.createNetwork(network));
    }
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

  async #deployObjects(): Promise<void> {
    const { plan, api, output } = this;
    for (const { kind, spec, existing, old } of plan.objects) {
      if (existing === undefined) {
        const last = old.at(-1);
        output.tell(
          `Creating ${kind} ${spec.Name}${last === undefined ? '' : `, new content of ${last.Spec.Name}`}`,
        );
        const make = () => api.createObject(kind, spec);
        this.#ids.set(
          `${kind} ${spec.Name}`,
          await this.#attempt(`create ${kind}`, spec.Name, make),
        );
      } else if (differences(existing.Spec.Labels, spec.Labels).length > 0) {
        output.tell(`Updating ${kind} ${spec.Name} (id: ${existing.ID})`);
        const labelled = { ...existing.Spec, Labels: spec.Labels };
        await this.#attempt(`update ${kind}`, spec.Name, () =>
          api.updateObject(kind, existing, labelled),
        );
      }
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

  async #deployService({ key, current }: ServicePlan): Promise<void> {
    const { plan, api, output, options } = this;
    const spec = specOf(key, plan, this.#ids);
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
    const { leftovers, objects, namespace } = this.plan;
    const prune = this.options.prune;
    const unused: Readonly<Record<ObjectKind, SwarmObject[]>> = { secret: [], config: [] };
    for (const { kind, old } of objects) unused[kind].push(...old);
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
