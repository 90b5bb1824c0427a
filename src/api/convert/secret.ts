/** Secrets and configs: API JSON both ways. A secret's data goes in and never comes out. */
import { create } from '@bufbuild/protobuf';
import type { Config, Secret } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ConfigSpec,
  ConfigSpecSchema,
  type SecretSpec,
  SecretSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type { GoStruct } from '../http/go-struct.js';
import { unlessZero } from '../http/json-text.js';
import {
  annotationFields,
  annotationsFromJson,
  base64,
  driverFields,
  driverFromJson,
  type JsonFields,
  metaFields,
} from './common.js';

/** A secret without its data. */
export function secretFields(secret: Secret): JsonFields {
  return { ID: secret.id, ...metaFields(secret.meta), Spec: secretSpecFields(secret.spec) };
}

/** A secret's spec without its data. */
export function secretSpecFields(spec: SecretSpec | undefined): JsonFields {
  return {
    ...annotationFields(spec?.annotations),
    Driver: driverFields(spec?.driver),
    Templating: driverFields(spec?.templating),
  };
}

/** A config with its data. */
export function configFields(config: Config): JsonFields {
  return { ID: config.id, ...metaFields(config.meta), Spec: configSpecFields(config.spec) };
}

/** A config's spec with its data. */
export function configSpecFields(spec: ConfigSpec | undefined): JsonFields {
  return {
    ...annotationFields(spec?.annotations),
    Data: unlessZero(base64(spec?.data ?? new Uint8Array())),
    Templating: driverFields(spec?.templating),
  };
}

/** A secret spec from JSON. */
export function secretSpecFromJson(json: GoStruct): SecretSpec {
  const driver = driverFromJson(json, 'Driver', 'swarm.Driver');
  const templating = driverFromJson(json, 'Templating', 'swarm.Driver');
  return create(SecretSpecSchema, {
    annotations: annotationsFromJson(json),
    data: json.bytes('Data'),
    ...(driver === undefined ? {} : { driver }),
    ...(templating === undefined ? {} : { templating }),
  });
}

/** A config spec from JSON. */
export function configSpecFromJson(json: GoStruct): ConfigSpec {
  const templating = driverFromJson(json, 'Templating', 'swarm.Driver');
  return create(ConfigSpecSchema, {
    annotations: annotationsFromJson(json),
    data: json.bytes('Data'),
    ...(templating === undefined ? {} : { templating }),
  });
}
