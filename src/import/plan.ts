/**
 * What an import is going to do: every object of the other swarm with what becomes of it here. Changes
 * nothing; what skepd would refuse is known before anything is asked of it.
 */
import { clone } from '@bufbuild/protobuf';
import { networkSpecFields } from '../api/convert/network.js';
import { configSpecFields, secretSpecFields } from '../api/convert/secret.js';
import { serviceSpecFields } from '../api/convert/service.js';
import { PREDEFINED_NETWORK_LABEL } from '../model/defaults.js';
import type { Environment } from '../model/environment.js';
import {
  type ClusterSpec,
  type ConfigSpec,
  type NetworkSpec,
  type NodeSpec,
  type SecretSpec,
  SecretSpecSchema,
  type ServiceSpec,
  ServiceSpecSchema,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { changedPlaces } from '../stack/diff.js';
import { plainFields } from './json-view.js';
import { planNode } from './node-plan.js';
import { dictionaryOf, referredTo, translate } from './references.js';
import { Rehearsal } from './rehearsal.js';
import { planSettings } from './settings-plan.js';
import type { Seen, SeenService, SwarmView } from './swarm-view.js';

/** Kinds of objects, as they are told. */
export type Kind = 'swarm' | 'network' | 'config' | 'secret' | 'node' | 'service';

/** One change. Services have names in place of ids. */
export type Change =
  | { readonly kind: 'swarm'; readonly version: string; readonly spec: ClusterSpec }
  | { readonly kind: 'network'; readonly spec: NetworkSpec }
  | { readonly kind: 'config'; readonly spec: ConfigSpec }
  | { readonly kind: 'secret'; readonly spec: SecretSpec }
  | {
      readonly kind: 'node';
      readonly id: string;
      readonly version: string;
      readonly spec: NodeSpec;
    }
  | { readonly kind: 'service'; readonly spec: ServiceSpec };

/** What becomes of an object. */
export type Outcome =
  | { readonly kind: 'change'; readonly change: Change; readonly text: string }
  /** It is there by name, and left alone. */
  | { readonly kind: 'present'; readonly text: string }
  /** Asked for by the user, or a node that is not here. */
  | { readonly kind: 'left-out'; readonly text: string }
  | { readonly kind: 'refused'; readonly text: string }
  /** A secret whose value is not given. */
  | { readonly kind: 'no-value'; readonly text: string };

/** One object of the other swarm. */
export interface Step {
  readonly kind: Kind;
  readonly name: string;
  readonly outcome: Outcome;
  /** Differences, and what does not come along. */
  readonly notes: readonly string[];
}

/** What the user decides. */
export interface Choices {
  /** Values of secrets by name. */
  readonly values: ReadonlyMap<string, Uint8Array>;
  /** `service/web`, `secret/old`: objects to leave out. */
  readonly skip: ReadonlySet<string>;
  /** Whether a secret here has this value, by its id. */
  readonly hasValue: (secret: Seen<SecretSpec>, value: Uint8Array) => Promise<boolean>;
}

/** Whether something must be decided before anything can be done. */
export function isBlocked(steps: readonly Step[]): boolean {
  return steps.some(({ outcome: { kind } }) => kind === 'refused' || kind === 'no-value');
}

/** The plan, in the order of its doing. @throws SkepError if what skepd has cannot be read */
export async function makePlan(
  there: SwarmView,
  here: SwarmView,
  choices: Choices,
  environment: Environment,
): Promise<readonly Step[]> {
  const rehearsal = new Rehearsal(environment);
  await rehearsal.load(here);
  const planner = new Planner(there, here, choices, rehearsal);
  const steps: Step[] = [planSettings(there, here)];
  for (const network of there.networks)
    if (!isPredefined(network)) steps.push(await planner.network(network));
  for (const config of there.configs) steps.push(await planner.config(config));
  for (const secret of there.secrets) steps.push(await planner.secret(secret));
  for (const node of there.nodes)
    steps.push(
      choices.skip.has(`node/${node.name}`)
        ? { kind: 'node', name: node.name, outcome: SKIPPED, notes: [] }
        : await planNode(node, there.nodes, here, rehearsal),
    );
  for (const service of there.services) steps.push(await planner.service(service));
  return steps;
}

const SKIPPED: Outcome = { kind: 'left-out', text: 'left out, as asked for' };

class Planner {
  readonly #names;
  readonly #namesHere;
  /** Names of services by the name of a secret. */
  readonly #users = new Map<string, string[]>();
  /** Names of what will be here, by kind. */
  readonly #will = { network: new Set(['bridge', 'host']), secret: new Set(), config: new Set() };

  constructor(
    there: SwarmView,
    private readonly here: SwarmView,
    private readonly choices: Choices,
    private readonly rehearsal: Rehearsal,
  ) {
    this.#names = dictionaryOf(there, 'names');
    this.#namesHere = dictionaryOf(here, 'names');
    for (const { name } of here.networks) this.#will.network.add(name);
    for (const { name } of here.secrets) this.#will.secret.add(name);
    for (const { name } of here.configs) this.#will.config.add(name);
    for (const { name, spec } of there.services) {
      if (spec === undefined) continue;
      const named = translate(spec, 'names', this.#names).spec;
      for (const secret of new Set(referredTo('secret', named)))
        this.#users.set(secret, [...(this.#users.get(secret) ?? []), name]);
    }
  }

  async network(network: Seen<NetworkSpec>): Promise<Step> {
    const { name, spec } = network;
    const step = (outcome: Outcome, notes: readonly string[] = []): Step => {
      if (outcome.kind === 'change') this.#will.network.add(name);
      return { kind: 'network', name, outcome, notes };
    };
    if (this.choices.skip.has(`network/${name}`)) return step(SKIPPED);
    if (spec === undefined) return step({ kind: 'refused', text: network.fault });
    // A swarm has one ingress network, whatever its name.
    const present = this.here.networks.find((other) => {
      return other.name === name || (spec.ingress && other.spec?.ingress === true);
    });
    if (present !== undefined) {
      return step(PRESENT, differencesOf(present, spec, networkSpecFields));
    }
    const refusal = await this.rehearsal.network(spec);
    if (refusal !== undefined) return step({ kind: 'refused', text: refusal });
    const subnets = (spec.ipam?.configs ?? []).map(({ subnet }) => subnet).join(', ');
    const change = { kind: 'network', spec } as const;
    return step({ kind: 'change', change, text: subnets === '' ? '' : `subnet ${subnets}` });
  }

  async config(config: Seen<ConfigSpec>): Promise<Step> {
    const { name, spec } = config;
    const step = (outcome: Outcome, notes: readonly string[] = []): Step => {
      if (outcome.kind === 'change') this.#will.config.add(name);
      return { kind: 'config', name, outcome, notes };
    };
    if (this.choices.skip.has(`config/${name}`)) return step(SKIPPED);
    if (spec === undefined) return step({ kind: 'refused', text: config.fault });
    const present = this.here.configs.find((other) => other.name === name);
    if (present !== undefined) return step(PRESENT, differencesOf(present, spec, configSpecFields));
    const refusal = await this.rehearsal.config(spec);
    if (refusal !== undefined) return step({ kind: 'refused', text: refusal });
    const text = `${spec.data.length} bytes`;
    return step({ kind: 'change', change: { kind: 'config', spec }, text });
  }

  async secret(secret: Seen<SecretSpec>): Promise<Step> {
    const { name } = secret;
    const step = (outcome: Outcome, notes: readonly string[] = []): Step => {
      if (outcome.kind === 'change' || outcome.kind === 'no-value') this.#will.secret.add(name);
      return { kind: 'secret', name, outcome, notes };
    };
    if (this.choices.skip.has(`secret/${name}`)) return step(SKIPPED);
    if (secret.spec === undefined) return step({ kind: 'refused', text: secret.fault });
    const value = this.choices.values.get(name);
    const present = this.here.secrets.find((other) => other.name === name);
    if (present !== undefined) {
      const notes = differencesOf(present, secret.spec, secretSpecFields);
      const isSame = value === undefined || (await this.choices.hasValue(present, value));
      return step(PRESENT, isSame ? notes : [...notes, 'differs here: its value']);
    }
    const spec = clone(SecretSpecSchema, secret.spec);
    const isHeld = spec.driver !== undefined;
    if (!isHeld && value === undefined)
      return step({ kind: 'no-value', text: `its value is needed${this.#usedBy(name)}` });
    if (value !== undefined && !isHeld) spec.data = value;
    const refusal = await this.rehearsal.secret(spec);
    if (refusal !== undefined) return step({ kind: 'refused', text: refusal });
    const text = isHeld ? `held by plugin ${spec.driver?.name ?? ''}` : 'from its file';
    return step({ kind: 'change', change: { kind: 'secret', spec }, text });
  }

  async service(service: SeenService): Promise<Step> {
    const { name } = service;
    const step = (outcome: Outcome, notes: readonly string[] = []): Step => {
      return { kind: 'service', name, outcome, notes };
    };
    if (this.choices.skip.has(`service/${name}`)) return step(SKIPPED);
    if (service.spec === undefined) return step({ kind: 'refused', text: service.fault });
    const { spec, missing } = translate(service.spec, 'names', this.#names);
    const notes = notesOf(service);
    if (missing.length > 0)
      return step({ kind: 'refused', text: `the other swarm does not show ${missing.join(', ')}` });
    const present = this.here.services.find((other) => other.name === name);
    if (present !== undefined) return step(PRESENT, this.#serviceDifferences(present, spec));
    const lacking = this.#lacking(spec);
    if (lacking.length > 0)
      return step({
        kind: 'refused',
        text: `it uses what will not be here: ${lacking.join(', ')}`,
      });
    const refusal = await this.rehearsal.service(this.#withoutUnmade(spec));
    if (refusal !== undefined) return step({ kind: 'refused', text: refusal });
    return step({ kind: 'change', change: { kind: 'service', spec }, text: '' }, notes);
  }

  #serviceDifferences(present: SeenService, wanted: ServiceSpec): readonly string[] {
    if (present.spec === undefined) return [`differs here: ${present.fault}`];
    const { spec } = translate(present.spec, 'names', this.#namesHere);
    return places(plainFields(serviceSpecFields(spec)), plainFields(serviceSpecFields(wanted)));
  }

  /** What a service refers to and neither is nor comes here, as `network legacy`. */
  #lacking(spec: ServiceSpec): readonly string[] {
    return (['network', 'config', 'secret'] as const).flatMap((kind) =>
      [...new Set(referredTo(kind, spec))]
        .filter((name) => !this.#will[kind].has(name))
        .map((name) => `${kind} ${name}`),
    );
  }

  /** Secrets without a value are told of once; the rest of their services is checked all the same. */
  #withoutUnmade(original: ServiceSpec): ServiceSpec {
    const spec = clone(ServiceSpecSchema, original);
    const { runtime } = spec.task ?? {};
    if (runtime?.case !== 'container') return spec;
    const container = runtime.value;
    container.secrets = container.secrets.filter(({ secretId }) =>
      this.rehearsal.hasSecret(secretId),
    );
    return spec;
  }

  #usedBy(secret: string): string {
    const users = this.#users.get(secret) ?? [];
    return users.length === 0 ? '; no service uses it' : ` by ${users.join(', ')}`;
  }
}

const PRESENT: Outcome = { kind: 'present', text: 'is there already' };

function isPredefined({ spec }: Seen<NetworkSpec>): boolean {
  return spec?.annotations?.labels[PREDEFINED_NETWORK_LABEL] === 'true';
}

function notesOf({ spec, unknown, keptPorts }: SeenService): readonly string[] {
  const constraints = spec?.task?.placement?.constraints ?? [];
  const isJob = spec?.mode.case === 'replicatedJob' || spec?.mode.case === 'globalJob';
  return [
    ...(isJob ? ['a job: it runs again here'] : []),
    ...constraints
      .filter((text) => /^\s*node\.id\b/i.test(text))
      .map((text) => `a constraint names a node by its id, which is another here: ${text}`),
    ...keptPorts.map((port) => `port ${port}, chosen by the other swarm, is published as such`),
    ...unknown.map((place) => `not known here, and lost: ${place}`),
  ];
}

function differencesOf<Spec>(
  present: Seen<Spec>,
  wanted: Spec,
  fieldsOf: (spec: Spec) => Parameters<typeof plainFields>[0],
): readonly string[] {
  if (present.spec === undefined) return [`differs here: ${present.fault}`];
  return places(plainFields(fieldsOf(present.spec)), plainFields(fieldsOf(wanted)));
}

/** Values are not told: those of environments and labels are often secret. */
function places(here: unknown, there: unknown): readonly string[] {
  return changedPlaces(here, there).map((place) => `differs here: ${place}`);
}
