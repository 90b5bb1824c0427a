/**
 * What a deployment is going to do, from what the files ask for and what the swarm has. Changes
 * nothing.
 */
import { serviceSpecFields, serviceSpecFromJson } from '../../api/convert/service.js';
import { parseJsonString } from '../../api/http/go-json.js';
import { GoStruct } from '../../api/http/go-struct.js';
import { plainFields } from '../../import/json-view.js';
import { SkepError } from '../../model/errors.js';
import { containerLabels } from '../../stack/container-settings.js';
import { dependencyOrder } from '../../stack/dependency-order.js';
import { differences } from '../../stack/diff.js';
import type { Namespace } from '../../stack/namespace.js';
import {
  asVersion,
  isSameKind,
  nextVersion,
  objectSpec,
  versionsOf,
  wantedNetworks,
} from '../../stack/object-spec.js';
import type { Project } from '../../stack/project.js';
import { type Referenced, serviceSpec } from '../../stack/service-spec.js';
import {
  IMAGE_LABEL,
  type Labels,
  type NetworkSpec,
  type ObjectSpec,
  type ServiceSpec,
  type SwarmNetwork,
  type SwarmObject,
  type SwarmService,
} from '../../stack/swarm-spec.js';
import { withImage, withTag } from './image-digest.js';
import type { ObjectKind, SwarmApi } from './swarm-api.js';

/** Everything of a swarm that matters to a stack. */
export interface SwarmState {
  /** Of the stack. */
  readonly services: readonly SwarmService[];
  readonly networks: readonly SwarmNetwork[];
  readonly objects: Readonly<Record<ObjectKind, readonly SwarmObject[]>>;
  readonly clusterLabels: Labels;
}

/** One secret or config of the file. */
export interface ObjectPlan {
  readonly kind: ObjectKind;
  readonly key: string;
  /** As the file has it, under the first name. */
  readonly first: ObjectSpec;
  /** Under the name of the version that services are to use. */
  readonly spec: ObjectSpec;
  /** The version with this content, if there is one. */
  readonly existing: SwarmObject | undefined;
  /** The others. */
  readonly old: readonly SwarmObject[];
}

/** One service of the file. */
export interface ServicePlan {
  readonly key: string;
  /** With names, but without ids, of secrets and configs. */
  readonly spec: ServiceSpec;
  readonly current: SwarmService | undefined;
  /** Lines `place: old -> new`. */
  readonly changes: readonly string[];
}

/** Of the stack, and not in its files any more. */
export interface Leftovers {
  readonly services: readonly SwarmService[];
  readonly networks: readonly SwarmNetwork[];
  readonly secrets: readonly SwarmObject[];
  readonly configs: readonly SwarmObject[];
}

/** A deployment. */
export interface Plan {
  readonly namespace: Namespace;
  readonly project: Project;
  readonly state: SwarmState;
  readonly newNetworks: readonly NetworkSpec[];
  readonly objects: readonly ObjectPlan[];
  /** External secrets and configs by key. */
  readonly external: Readonly<Record<ObjectKind, ReadonlyMap<string, Referenced>>>;
  /** Each behind those that it depends on. */
  readonly services: readonly ServicePlan[];
  readonly leftovers: Leftovers;
  /** What the files ask for and this swarm does not do. */
  readonly warnings: readonly string[];
}

const KINDS = ['secret', 'config'] as const;

/** @throws SkepError of the files, of the API, or where something external is missing */
export async function makePlan(
  project: Project,
  namespace: Namespace,
  api: SwarmApi,
): Promise<Plan> {
  const state = await readState(namespace, api);
  const networks = wantedNetworks(project, namespace);
  for (const name of networks.external) checkExternalNetwork(name, state.networks);
  const objects: ObjectPlan[] = [];
  const external = { secret: new Map<string, Referenced>(), config: new Map<string, Referenced>() };
  for (const kind of KINDS) {
    const used = usedKeys(project, kind);
    for (const [key, object] of project[`${kind}s`]) {
      if (object.external === true) {
        if (used.has(key))
          external[kind].set(key, externalObject(kind, object.name ?? key, state.objects[kind]));
      } else {
        const spec = objectSpec(key, object, namespace);
        objects.push(await planObject(kind, key, spec, namespace, state.objects[kind], api));
      }
    }
  }
  const partial = { namespace, project, state, objects, external };
  const services = dependencyOrder(project.services).map((key) => planService(key, partial));
  const existing = new Set(state.networks.map(({ Name }) => Name));
  return {
    ...partial,
    services,
    newNetworks: networks.own.filter(({ Name }) => !existing.has(Name)),
    leftovers: leftoversOf(partial, services, networks.own),
    warnings: [...project.services].flatMap(([key, service]) =>
      containerLabels(service, state.clusterLabels).warnings.map(
        (warning) => `services.${key}.${warning}`,
      ),
    ),
  };
}

async function readState(namespace: Namespace, api: SwarmApi): Promise<SwarmState> {
  const [services, networks, secret, config, clusterLabels] = await Promise.all([
    api.services(namespace.name),
    api.networks(),
    api.objects('secret'),
    api.objects('config'),
    api.clusterLabels(),
  ]);
  return { services, networks, objects: { secret, config }, clusterLabels };
}

function usedKeys(project: Project, kind: ObjectKind): ReadonlySet<string> {
  const keys = [...project.services.values()].flatMap((service) => service[`${kind}s`] ?? []);
  return new Set(keys.map(({ source }) => source));
}

function checkExternalNetwork(name: string, networks: readonly SwarmNetwork[]): void {
  if (['host', 'bridge', 'none', 'default'].includes(name)) return;
  const found = networks.filter((network) => network.Name === name);
  if (found.length === 0)
    throw new SkepError(
      'not_found',
      `network "${name}" is declared as external, but could not be found. You need to create a ` +
        'swarm-scoped network before the stack is deployed',
    );
  if (!found.some(({ Scope }) => Scope === 'swarm'))
    throw new SkepError(
      'failed_precondition',
      `network "${name}" is declared as external, but it is not in the right scope: ` +
        `"${found[0]?.Scope ?? ''}" instead of "swarm"`,
    );
}

function externalObject(kind: ObjectKind, name: string, all: readonly SwarmObject[]): Referenced {
  const found = all.find(({ Spec }) => Spec.Name === name);
  if (found === undefined) throw new SkepError('not_found', `${kind} not found: ${name}`);
  return { id: found.ID, name };
}

/**
 * Which version of a secret or config services are to use. @param spec under the first name
 * @throws SkepError of the API
 */
export async function planObject(
  kind: ObjectKind,
  key: string,
  spec: ObjectSpec,
  namespace: Namespace,
  all: readonly SwarmObject[],
  api: SwarmApi,
): Promise<ObjectPlan> {
  const versions = versionsOf(spec.Name, namespace, all);
  const plain = all.find(({ Spec }) => Spec.Name === spec.Name);
  // `docker stack deploy` knows the plain name only, so that goes before a version with the same
  // content; then the newest: going back to older content uses that version again.
  const candidates = [
    ...(plain === undefined ? [] : [plain]),
    ...versions.toReversed().filter((version) => version !== plain),
  ];
  let existing: SwarmObject | undefined;
  for (const candidate of candidates) {
    if (!isSameKind(candidate.Spec, spec)) continue;
    const isSame =
      spec.Driver !== undefined || (await api.hasContent(kind, candidate, spec.Data ?? ''));
    if (!isSame) continue;
    existing = candidate;
    break;
  }
  const old = versions.filter((version) => version !== existing);
  const base = { kind, key, first: spec, existing, old };
  if (existing === undefined) return { ...base, spec: nextVersion(spec, versions, all) };
  // What belongs to others may be used, and stays as it is.
  const isOurs = namespace.owns(existing.Spec.Labels);
  const used = isOurs ? asVersion(spec, existing.Spec.Name) : existing.Spec;
  return { ...base, spec: used };
}

type Known = Pick<Plan, 'namespace' | 'project' | 'state' | 'objects' | 'external'>;

/**
 * The service under the names and, where they are known, ids of its secrets and configs. @param ids
 * of those made meanwhile, by kind and name
 */
export function specOf(key: string, plan: Known, ids: ReadonlyMap<string, string>): ServiceSpec {
  const { project, namespace, external } = plan;
  const service = project.services.get(key) ?? {};
  const referenced = (kind: ObjectKind): ReadonlyMap<string, Referenced> =>
    new Map([
      ...external[kind],
      ...plan.objects
        .filter((object) => object.kind === kind)
        .map(({ key: name, spec, existing }) => {
          const id = existing?.ID ?? ids.get(`${kind} ${spec.Name}`) ?? '';
          return [name, { id, name: spec.Name }] as const;
        }),
    ]);
  try {
    return serviceSpec(key, service, {
      namespace,
      networks: project.networks,
      volumes: project.volumes,
      secrets: referenced('secret'),
      configs: referenced('config'),
      clusterLabels: plan.state.clusterLabels,
    });
  } catch (error) {
    const { code, message } = SkepError.from(error);
    throw new SkepError(code, `service ${key}: ${message}`, { cause: error });
  }
}

function planService(key: string, plan: Known): ServicePlan {
  const wanted = specOf(key, plan, new Map());
  const current = plan.state.services.find(({ Spec }) => Spec.Name === wanted.Name);
  if (current === undefined) return { key, spec: wanted, current, changes: [] };
  const isSameImage = wanted.Labels[IMAGE_LABEL] === current.Spec.Labels[IMAGE_LABEL];
  const image = wanted.TaskTemplate.ContainerSpec.Image;
  const spec = withImage(
    wanted,
    isSameImage ? current.Spec.TaskTemplate.ContainerSpec.Image : withTag(image),
    {},
  );
  return { key, spec, current, changes: changesOf(current, spec, plan.state.networks) };
}

/** How a service differs from what it is to be. */
export function changesOf(
  current: SwarmService,
  wanted: ServiceSpec,
  networks: readonly SwarmNetwork[],
): readonly string[] {
  const names = new Map(networks.map(({ Id, Name }) => [Id, Name]));
  const { TaskTemplate: task } = current.Spec;
  const named = {
    ...current.Spec,
    TaskTemplate: {
      ...task,
      Networks: (task.Networks ?? [])
        .map((network) => ({ ...network, Target: names.get(network.Target) ?? network.Target }))
        .toSorted((a, b) => (a.Target < b.Target ? -1 : 1)),
    },
  };
  return differences(stored(named), stored(wanted));
}

/** A service as the API would keep and tell it: what it fills in is no difference, nor what it drops. */
function stored(spec: ServiceSpec): unknown {
  const json = parseJsonString(JSON.stringify(spec));
  const kept = serviceSpecFromJson(GoStruct.root(json, 'swarm.ServiceSpec'), () => '');
  return plainFields(serviceSpecFields(kept));
}

function leftoversOf(
  { namespace, state, objects }: Known,
  services: readonly ServicePlan[],
  networks: readonly NetworkSpec[],
): Leftovers {
  const wantedServices = new Set(services.map(({ spec }) => spec.Name));
  const wantedNetworkNames = new Set(networks.map(({ Name }) => Name));
  const known = new Set(
    objects.flatMap(({ existing, old }) => [...old, ...(existing === undefined ? [] : [existing])]),
  );
  const unknown = (kind: ObjectKind) =>
    state.objects[kind].filter(
      (object) => namespace.owns(object.Spec.Labels) && !known.has(object),
    );
  return {
    services: state.services.filter(({ Spec }) => !wantedServices.has(Spec.Name)),
    networks: state.networks.filter(
      ({ Name, Labels }) => namespace.owns(Labels) && !wantedNetworkNames.has(Name),
    ),
    secrets: unknown('secret'),
    configs: unknown('config'),
  };
}
