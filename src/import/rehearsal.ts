/**
 * What skepd will say to each change, found by making it in a store of our own that holds what skepd
 * holds, through the same checks (src/manager/control). Nothing leaves this process.
 */
import { create } from '@bufbuild/protobuf';
import { StoreControl } from '../manager/control/store-control.js';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import {
  ClusterSchema,
  ConfigSchema,
  NetworkSchema,
  NodeSchema,
  SecretSchema,
  ServiceSchema,
} from '../model/gen/docker/swarmkit/v1/objects_pb.js';
import type {
  ConfigSpec,
  NetworkSpec,
  NodeSpec,
  SecretSpec,
  ServiceSpec,
} from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import { overlaps, parseIpPrefix } from '../model/ip-prefix.js';
import { MemoryStore } from '../store/memory-store.js';
import { LocalProposer } from '../store/proposer.js';
import type { WriteTransaction } from '../store/types.js';
import { PREDEFINED_NETWORKS, type ReferenceKind, translate } from './references.js';
import type { SwarmView } from './swarm-view.js';

/** A manager's checks over a copy of its objects. */
export class Rehearsal {
  /** Ids by name, of what is there and of what has been made here. */
  readonly #ids: Readonly<Record<ReferenceKind, Map<string, string>>> = {
    network: new Map(PREDEFINED_NETWORKS.map((name) => [name, name])),
    secret: new Map(),
    config: new Map(),
  };
  readonly #control: StoreControl;
  readonly #store: MemoryStore;

  /** @param environment ids and times of the copies come from here */
  constructor(environment: Environment) {
    const proposer = new LocalProposer();
    this.#store = new MemoryStore({ environment, proposer });
    proposer.attach(this.#store);
    const managers = { isMember: () => true, canRemove: () => false };
    this.#control = new StoreControl({ store: this.#store, environment, managers });
  }

  /** Takes in what skepd has. @throws SkepError where that cannot be */
  async load(here: SwarmView): Promise<void> {
    const writes: ((write: WriteTransaction) => void)[] = [];
    const { dataPathPort: VXLANUDPPort } = here.settings;
    const cluster = create(ClusterSchema, {
      id: here.id,
      spec: { annotations: { name: 'default' } },
      VXLANUDPPort,
    });
    writes.push((write) => write.create('cluster', cluster));
    for (const { id, spec } of here.nodes)
      if (spec) writes.push((write) => write.create('node', create(NodeSchema, { id, spec })));
    for (const { id, name, spec } of here.networks) {
      this.#ids.network.set(name, id);
      if (spec)
        writes.push((write) => write.create('network', create(NetworkSchema, { id, spec })));
    }
    for (const { id, name, spec } of here.configs) {
      this.#ids.config.set(name, id);
      if (spec) writes.push((write) => write.create('config', create(ConfigSchema, { id, spec })));
    }
    for (const { id, name, spec } of here.secrets) {
      this.#ids.secret.set(name, id);
      if (spec) writes.push((write) => write.create('secret', create(SecretSchema, { id, spec })));
    }
    for (const { id, spec } of here.services)
      if (spec)
        writes.push((write) => write.create('service', create(ServiceSchema, { id, spec })));
    for (const error of await this.#store.batch(writes)) if (error !== undefined) throw error;
  }

  /** Whether there is a secret of this name, or was made here. */
  hasSecret(name: string): boolean {
    return this.#ids.secret.has(name);
  }

  /** Each of these: undefined where skepd takes it, else what it will say. */
  async network(spec: NetworkSpec): Promise<string | undefined> {
    return this.#try('network', spec, async () => {
      for (const { subnet } of spec.ipam?.configs ?? []) this.#checkFree(subnet);
      return this.#control.createNetwork(spec);
    });
  }

  async config(spec: ConfigSpec): Promise<string | undefined> {
    return this.#try('config', spec, () => this.#control.createConfig(spec));
  }

  async secret(spec: SecretSpec): Promise<string | undefined> {
    return this.#try('secret', spec, () => this.#control.createSecret(spec));
  }

  async node(id: string, spec: NodeSpec): Promise<string | undefined> {
    return this.#attempt(() => {
      const version = this.#control.getNode(id).meta?.version?.index ?? 0n;
      return this.#control.updateNode(id, version, spec);
    });
  }

  /** @param spec with names in place of ids */
  async service(spec: ServiceSpec): Promise<string | undefined> {
    return this.#attempt(() => this.#control.createService(translate(spec, 'ids', this.#ids).spec));
  }

  async #try(
    kind: ReferenceKind,
    spec: NetworkSpec | ConfigSpec | SecretSpec,
    make: () => Promise<{ readonly id: string }>,
  ): Promise<string | undefined> {
    return this.#attempt(async () => {
      this.#ids[kind].set(spec.annotations?.name ?? '', (await make()).id);
    });
  }

  async #attempt(change: () => Promise<unknown>): Promise<string | undefined> {
    try {
      await change();
      return undefined;
    } catch (error) {
      return SkepError.from(error).message;
    }
  }

  /** A manager finds this only later, when it allocates: the network would stay without addresses. */
  #checkFree(subnet: string): void {
    const wanted = parseIpPrefix(subnet);
    if (wanted === undefined) return;
    for (const { spec } of this.#control.listNetworks()) {
      const taken = (spec?.ipam?.configs ?? []).find((config) => {
        const other = parseIpPrefix(config.subnet);
        return other !== undefined && overlaps(wanted, other);
      });
      if (taken === undefined) continue;
      const name = spec?.annotations?.name ?? '';
      throw new SkepError(
        'invalid_argument',
        `its subnet ${subnet} overlaps ${taken.subnet} of network ${name} here`,
      );
    }
  }
}
