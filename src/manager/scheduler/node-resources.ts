/**
 * What is still free on a node: CPU, memory and user-defined ("generic") resources, which are
 * either counted or named one by one (SwarmKit api/genericresource).
 */
import { discreteResource, namedResource } from '../../model/generic-resources.js';
import type { GenericResource, Resources } from '../../model/gen/docker/swarmkit/v1/types_pb.js';

/** Free resources of one node. CPU in billionths of a core, memory in bytes. */
export class NodeResources {
  #nanoCpus: bigint;
  #memoryBytes: bigint;
  /** Free units of counted kinds. */
  readonly #counted = new Map<string, bigint>();
  /** Free members of named kinds. */
  readonly #named = new Map<string, Set<string>>();
  /** All members of named kinds, `KIND MEMBER` each. */
  readonly #members = new Set<string>();

  constructor(total: Resources | undefined) {
    this.#nanoCpus = total?.nanoCpus ?? 0n;
    this.#memoryBytes = total?.memoryBytes ?? 0n;
    for (const { resource } of total?.generic ?? []) {
      if (resource.case === 'discreteResourceSpec') {
        this.#counted.set(resource.value.kind, resource.value.value);
      } else if (resource.case === 'namedResourceSpec') {
        const members = this.#named.get(resource.value.kind) ?? new Set();
        this.#named.set(resource.value.kind, members.add(resource.value.value));
        this.#members.add(`${resource.value.kind} ${resource.value.value}`);
      }
    }
  }

  /** Whether a task that reserves this much still fits. */
  has(reservations: Resources | undefined): boolean {
    if (reservations === undefined) return true;
    if (reservations.nanoCpus > 0n && reservations.nanoCpus > this.#nanoCpus) return false;
    if (reservations.memoryBytes > 0n && reservations.memoryBytes > this.#memoryBytes) return false;
    return reservations.generic.every(({ resource }) => {
      if (resource.case !== 'discreteResourceSpec') return false;
      const { kind, value } = resource.value;
      const free = this.#named.has(kind)
        ? BigInt(this.#named.get(kind)?.size ?? 0)
        : (this.#counted.get(kind) ?? 0n);
      return free > 0n && value <= free;
    });
  }

  /** The units a new task with these reservations would get; call {@link take} with them. */
  choose(reservations: Resources | undefined): readonly GenericResource[] {
    return (reservations?.generic ?? []).flatMap(({ resource }) => {
      if (resource.case !== 'discreteResourceSpec') return [];
      const { kind, value } = resource.value;
      const members = this.#named.get(kind);
      if (members === undefined) return [discreteResource(kind, value)];
      return [...members]
        .sort()
        .slice(0, Number(value))
        .map((member) => namedResource(kind, member));
    });
  }

  /** Whether the node still has the very units a task was given. */
  holds(assigned: readonly GenericResource[]): boolean {
    return assigned.every(({ resource }) => {
      switch (resource.case) {
        case 'namedResourceSpec':
          return this.#named.get(resource.value.kind)?.has(resource.value.value) === true;
        case 'discreteResourceSpec':
          return resource.value.value <= (this.#counted.get(resource.value.kind) ?? 0n);
        case undefined:
          return true;
      }
    });
  }

  /** Takes what a task reserves and the units it was given. */
  take(reservations: Resources | undefined, assigned: readonly GenericResource[]): void {
    this.#nanoCpus -= reservations?.nanoCpus ?? 0n;
    this.#memoryBytes -= reservations?.memoryBytes ?? 0n;
    for (const { resource } of assigned) {
      if (resource.case === 'namedResourceSpec') {
        this.#named.get(resource.value.kind)?.delete(resource.value.value);
      } else if (resource.case === 'discreteResourceSpec') {
        const { kind, value } = resource.value;
        this.#counted.set(kind, (this.#counted.get(kind) ?? 0n) - value);
      }
    }
  }

  /** Undoes {@link take}; a member the node never had does not come to be by it. */
  give(reservations: Resources | undefined, assigned: readonly GenericResource[]): void {
    this.#nanoCpus += reservations?.nanoCpus ?? 0n;
    this.#memoryBytes += reservations?.memoryBytes ?? 0n;
    for (const { resource } of assigned) {
      if (resource.case === 'namedResourceSpec') {
        const { kind, value } = resource.value;
        if (this.#members.has(`${kind} ${value}`)) this.#named.get(kind)?.add(value);
      } else if (resource.case === 'discreteResourceSpec') {
        const { kind, value } = resource.value;
        this.#counted.set(kind, (this.#counted.get(kind) ?? 0n) + value);
      }
    }
  }
}
