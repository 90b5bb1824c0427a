/**
 * Services: create, update with optimistic locking, roll back, remove (SwarmKit
 * controlapi/service.go). The spec is replaced as a whole; the one before is kept for a rollback.
 */
import { clone, create, equals } from '@bufbuild/protobuf';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  EndpointSchema,
  MetaSchema,
  type Service,
  ServiceSchema,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ServiceSpec,
  ServiceSpecSchema,
  TaskSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  JobStatusSchema,
  UpdateStatus_UpdateState as UpdateState,
  UpdateStatusSchema,
  VersionSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { timestampNow } from '../../model/defaults.js';
import { newId } from '../../model/ids.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import { precondition } from './annotations.js';
import { checkContainerPolicy } from '../orchestrator/container-policy.js';
import { removeScaleRecord } from '../orchestrator/scale-record.js';
import { checkFixedAddresses } from './fixed-addresses.js';
import { checkPortConflicts } from './port-conflicts.js';
import { checkReferencesExist } from './references.js';
import {
  checkIngressPresent,
  checkServiceNetworks,
  checkServiceSpec,
  nameConflict,
} from './service-validation.js';

/** Reads and writes of services. */
export class ServiceControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
  ) {}

  list(): readonly Service[] {
    return this.store.view((read) => read.find('service', { by: 'all' }));
  }

  get(id: string): Service {
    return this.store.view((read) => required(read, id));
  }

  async create(spec: ServiceSpec): Promise<Service> {
    checkServiceSpec(spec);
    const service = create(ServiceSchema, {
      id: newId(this.environment.random),
      spec: clone(ServiceSpecSchema, spec),
      specVersion: create(VersionSchema),
    });
    if (isJob(spec)) service.jobStatus = this.jobStatus(0n);
    // What needs no allocation is complete at once: no second change, and no second event.
    if (needsNoAllocation(spec)) service.endpoint = create(EndpointSchema, { spec: spec.endpoint });
    await this.store.update((write) => {
      checkServiceNetworks(write, spec);
      checkPortConflicts(write, spec, '');
      checkIngressPresent(write, spec);
      checkFixedAddresses(write, spec, service.id);
      checkReferencesExist(write, spec.task);
      checkContainerPolicy(write, spec, undefined);
      try {
        write.create('service', service);
      } catch (error) {
        throw nameConflict('service', spec.annotations?.name ?? '', error);
      }
    });
    return this.get(service.id);
  }

  async update(
    id: string,
    version: bigint,
    spec: ServiceSpec,
    options: { readonly rollback: 'none' | 'previous' },
  ): Promise<Service> {
    checkServiceSpec(spec);
    await this.store.update((write) => {
      checkServiceNetworks(write, spec);
      checkPortConflicts(write, spec, id);
      const service = clone(ServiceSchema, required(write, id));
      checkChange(service, spec);
      checkReferencesExist(write, spec.task);
      const before = service.spec;
      service.meta ??= create(MetaSchema);
      service.meta.version = create(VersionSchema, { index: version });
      if (options.rollback === 'previous') this.rollBack(service);
      else replaceSpec(service, spec, version);
      if (isJob(service.spec)) {
        service.jobStatus = this.jobStatus((service.jobStatus?.jobIteration?.index ?? 0n) + 1n);
      }
      if (service.spec !== undefined) {
        checkIngressPresent(write, service.spec);
        checkFixedAddresses(write, service.spec, id);
        checkContainerPolicy(write, service.spec, before);
      }
      write.update('service', service);
    });
    return this.get(id);
  }

  async remove(id: string): Promise<void> {
    await this.store.update((write) => {
      required(write, id);
      write.delete('service', id);
      removeScaleRecord(write, id);
    });
  }

  /** Swaps spec and previous spec; a second rollback re-applies. */
  private rollBack(service: Service): void {
    const { spec, specVersion, previousSpec, previousSpecVersion } = service;
    if (previousSpec === undefined) {
      throw precondition(`service ${service.id} does not have a previous spec`);
    }
    service.spec = previousSpec;
    service.specVersion = previousSpecVersion ?? create(VersionSchema);
    if (spec !== undefined) service.previousSpec = spec;
    if (specVersion !== undefined) service.previousSpecVersion = specVersion;
    service.updateStatus = create(UpdateStatusSchema, {
      state: UpdateState.ROLLBACK_STARTED,
      message: 'manually requested rollback',
      startedAt: timestampNow(this.environment.clock),
    });
  }

  private jobStatus(iteration: bigint): NonNullable<Service['jobStatus']> {
    return create(JobStatusSchema, {
      jobIteration: { index: iteration },
      lastExecution: timestampNow(this.environment.clock),
    });
  }
}

function needsNoAllocation({ endpoint, task, networks }: ServiceSpec): boolean {
  const attached = [...networks, ...(task?.networks ?? [])];
  return endpoint?.ports.length === 0 && attached.length === 0;
}

function required(read: ReadTransaction, id: string): Service {
  const service = read.get('service', id);
  if (service === undefined) throw new SkepError('not_found', `service ${id} not found`);
  return service;
}

function isJob(spec: ServiceSpec | undefined): boolean {
  return spec?.mode.case === 'replicatedJob' || spec?.mode.case === 'globalJob';
}

/** What an update may not change. */
function checkChange(service: Service, spec: ServiceSpec): void {
  const old = service.spec ?? create(ServiceSpecSchema);
  const networksChanged =
    networksText(old.networks) !== networksText(spec.networks) &&
    equals(
      TaskSpecSchema,
      create(TaskSpecSchema, { networks: old.task?.networks ?? [] }),
      create(TaskSpecSchema, { networks: spec.task?.networks ?? [] }),
    );
  if (networksChanged) {
    const text = 'networks must be migrated to TaskSpec before being changed';
    throw new SkepError('unimplemented', text);
  }
  if (old.mode.case !== spec.mode.case) {
    throw new SkepError('unimplemented', 'service mode change is not allowed');
  }
  if (old.annotations?.name !== spec.annotations?.name) {
    throw new SkepError('unimplemented', 'renaming services is not supported');
  }
}

function networksText(networks: ServiceSpec['networks']): string {
  const plain = networks.map((n) => [n.target, n.aliases, n.addresses, n.driverAttachmentOpts]);
  return JSON.stringify(plain);
}

/** The spec's version is the service's version before the write: they are not comparable later. */
function replaceSpec(service: Service, spec: ServiceSpec, version: bigint): void {
  const { spec: old, specVersion } = service;
  if (old !== undefined) service.previousSpec = old;
  if (specVersion === undefined) delete service.previousSpecVersion;
  else service.previousSpecVersion = specVersion;
  service.spec = clone(ServiceSpecSchema, spec);
  service.specVersion = create(VersionSchema, { index: version });
  delete service.updateStatus;
}
