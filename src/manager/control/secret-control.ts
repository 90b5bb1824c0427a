/**
 * Secrets and configs: create, change labels, remove while unused (SwarmKit controlapi/secret.go,
 * config.go). Their data cannot be changed, and a secret's data is never given out.
 */
import { timingSafeEqual } from 'node:crypto';
import { clone, create } from '@bufbuild/protobuf';
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import {
  type Config,
  ConfigSchema,
  MetaSchema,
  type Secret,
  SecretSchema,
  type Service,
} from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ConfigSpec,
  ConfigSpecSchema,
  type SecretSpec,
  SecretSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { VersionSchema } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { newId } from '../../model/ids.js';
import type { ReadTransaction, Store } from '../../store/types.js';
import type { SecretSource } from '../drivers/secret-drivers.js';
import { checkSecretName, checkSkepLabels, invalid } from './annotations.js';
import { CONFIG_BYTES_LIMIT, SECRET_BYTES_LIMIT } from './limits.js';
import { nameConflict } from './service-validation.js';

/** Reads and writes of secrets. */
export class SecretControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
    private readonly drivers: Pick<SecretSource, 'check'> | undefined,
  ) {}

  list(): readonly Secret[] {
    return this.store.view((read) =>
      read
        .find('secret', { by: 'all' })
        .filter((secret) => !secret.internal)
        .map(withoutData),
    );
  }

  get(id: string): Secret {
    return withoutData(this.store.view((read) => requiredSecret(read, id)));
  }

  async create(spec: SecretSpec): Promise<Secret> {
    checkSecretName(spec.annotations);
    checkSkepLabels('secret', spec.annotations);
    if (spec.driver !== undefined) {
      if (spec.driver.name === '') throw invalid('secret driver must have a name');
      await this.checkDriver(spec.driver.name);
    } else {
      checkData('secret', spec.data, SECRET_BYTES_LIMIT);
    }
    const id = newId(this.environment.random);
    const secret = create(SecretSchema, { id, spec: clone(SecretSpecSchema, spec) });
    await this.store.update((write) => {
      try {
        write.create('secret', secret);
      } catch (error) {
        throw nameConflict('secret', spec.annotations?.name ?? '', error);
      }
    });
    return this.get(id);
  }

  private async checkDriver(name: string): Promise<void> {
    try {
      await this.drivers?.check(name);
    } catch (cause) {
      // SwarmKit passes on the engine's plain error.
      throw new SkepError('unknown', SkepError.from(cause).message, { cause });
    }
  }

  async update(id: string, version: bigint, spec: SecretSpec): Promise<Secret> {
    checkSkepLabels('secret', spec.annotations);
    await this.store.update((write) => {
      const secret = clone(SecretSchema, requiredSecret(write, id));
      secret.meta ??= create(MetaSchema);
      secret.meta.version = create(VersionSchema, { index: version });
      changeLabels(secret.spec, spec);
      write.update('secret', secret);
    });
    return this.get(id);
  }

  async remove(id: string): Promise<void> {
    await this.store.update((write) => {
      const secret = requiredSecret(write, id);
      const users = write.find('service', { by: 'referencedSecret', secretId: id });
      checkUnused('secret', secret.spec?.annotations?.name ?? '', users);
      write.delete('secret', id);
    });
  }
}

/** Reads and writes of configs. */
export class ConfigControl {
  constructor(
    private readonly store: Store,
    private readonly environment: Environment,
  ) {}

  list(): readonly Config[] {
    return this.store.view((read) => read.find('config', { by: 'all' }));
  }

  get(id: string): Config {
    return this.store.view((read) => requiredConfig(read, id));
  }

  async create(spec: ConfigSpec): Promise<Config> {
    checkSecretName(spec.annotations);
    checkSkepLabels('config', spec.annotations);
    checkData('config', spec.data, CONFIG_BYTES_LIMIT);
    const id = newId(this.environment.random);
    const config = create(ConfigSchema, { id, spec: clone(ConfigSpecSchema, spec) });
    await this.store.update((write) => {
      try {
        write.create('config', config);
      } catch (error) {
        throw nameConflict('config', spec.annotations?.name ?? '', error);
      }
    });
    return this.get(id);
  }

  async update(id: string, version: bigint, spec: ConfigSpec): Promise<Config> {
    checkSkepLabels('config', spec.annotations);
    await this.store.update((write) => {
      const config = clone(ConfigSchema, requiredConfig(write, id));
      config.meta ??= create(MetaSchema);
      config.meta.version = create(VersionSchema, { index: version });
      changeLabels(config.spec, spec);
      write.update('config', config);
    });
    return this.get(id);
  }

  async remove(id: string): Promise<void> {
    await this.store.update((write) => {
      const config = requiredConfig(write, id);
      const users = write.find('service', { by: 'referencedConfig', configId: id });
      checkUnused('config', config.spec?.annotations?.name ?? '', users);
      write.delete('config', id);
    });
  }
}

function requiredSecret(read: ReadTransaction, id: string): Secret {
  const secret = read.get('secret', id);
  if (secret === undefined) throw new SkepError('not_found', `secret ${id} not found`);
  return secret;
}

function requiredConfig(read: ReadTransaction, id: string): Config {
  const config = read.get('config', id);
  if (config === undefined) throw new SkepError('not_found', `config ${id} not found`);
  return config;
}

function withoutData(secret: Secret): Secret {
  const copy = clone(SecretSchema, secret);
  if (copy.spec !== undefined) copy.spec.data = new Uint8Array();
  return copy;
}

function checkData(kind: 'secret' | 'config', data: Uint8Array, limit: number): void {
  if (data.length === 0 || data.length >= limit) {
    throw invalid(`${kind} data must be larger than 0 and less than ${limit} bytes`);
  }
}

function changeLabels(
  stored: SecretSpec | ConfigSpec | undefined,
  wanted: SecretSpec | ConfigSpec,
): void {
  const sameName = stored?.annotations?.name === wanted.annotations?.name;
  const sameData = wanted.data.length === 0 || sameBytes(stored?.data, wanted.data);
  if (!sameName || !sameData || stored?.annotations === undefined) {
    throw invalid('only updates to Labels are allowed');
  }
  stored.annotations.labels = { ...wanted.annotations?.labels };
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a?.length === b.length && timingSafeEqual(a, b);
}

function checkUnused(kind: string, name: string, users: readonly Service[]): void {
  if (users.length === 0) return;
  const names = users.map((service) => service.spec?.annotations?.name ?? '').join(', ');
  const noun = users.length === 1 ? 'service' : 'services';
  throw invalid(`${kind} '${name}' is in use by the following ${noun}: ${names}`);
}
