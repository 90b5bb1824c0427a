/** A container spec of a service from API JSON. */
import { create } from '@bufbuild/protobuf';
import {
  type ContainerSpec,
  ContainerSpec_DNSConfigSchema,
  ContainerSpec_Isolation,
  ContainerSpec_UlimitSchema,
  ContainerSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  type ConfigReference,
  ConfigReferenceSchema,
  type FileTarget,
  FileTargetSchema,
  type HealthConfig,
  HealthConfigSchema,
  type Privileges,
  Privileges_CredentialSpecSchema,
  Privileges_SELinuxContextSchema,
  PrivilegesSchema,
  RuntimeTargetSchema,
  type SecretReference,
  SecretReferenceSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { durationOfNanos, enumValue, optionalDuration } from './common.js';
import { mountFromJson } from './mounts.js';

/** The container spec. @throws ApiError 400 with the engine's text for each malformed part */
export function containerSpecFromJson(json: GoStruct): ContainerSpec {
  const isolation = json.string('Isolation', 'container.Isolation');
  const init = json.optionalBool('Init');
  const spec = create(ContainerSpecSchema, {
    image: json.string('Image'),
    labels: json.stringMap('Labels'),
    command: json.strings('Command'),
    args: json.strings('Args'),
    hostname: json.string('Hostname'),
    env: json.strings('Env'),
    dir: json.string('Dir'),
    user: json.string('User'),
    groups: json.strings('Groups'),
    stopSignal: json.string('StopSignal'),
    tty: json.bool('TTY'),
    openStdin: json.bool('OpenStdin'),
    readOnly: json.bool('ReadOnly'),
    hosts: json.strings('Hosts'),
    secrets: json.structs('Secrets', 'swarm.SecretReference').map(secretReferenceFromJson),
    configs: json.structs('Configs', 'swarm.ConfigReference').map(configReferenceFromJson),
    isolation: enumValue(ContainerSpec_Isolation, isolation) ?? ContainerSpec_Isolation.DEFAULT,
    sysctls: json.stringMap('Sysctls'),
    capabilityAdd: json.strings('CapabilityAdd'),
    capabilityDrop: json.strings('CapabilityDrop'),
    ulimits: json.structs('Ulimits', 'units.Ulimit').map((limit) =>
      create(ContainerSpec_UlimitSchema, {
        name: limit.string('Name'),
        soft: limit.int64('Soft'),
        hard: limit.int64('Hard'),
      }),
    ),
    mounts: json.structs('Mounts', 'mount.Mount').map(mountFromJson),
    ...(init === undefined ? {} : { init }),
  });
  addOptionalParts(spec, json);
  return spec;
}

function addOptionalParts(spec: ContainerSpec, json: GoStruct): void {
  const grace = optionalDuration(json, 'StopGracePeriod');
  if (grace !== undefined) spec.stopGracePeriod = grace;
  const dns = json.optionalStruct('DNSConfig', 'swarm.DNSConfig');
  if (dns !== undefined) {
    spec.dnsConfig = create(ContainerSpec_DNSConfigSchema, {
      nameservers: dns.strings('Nameservers'),
      search: dns.strings('Search'),
      options: dns.strings('Options'),
    });
  }
  const privileges = json.optionalStruct('Privileges', 'swarm.Privileges');
  if (privileges !== undefined) spec.privileges = privilegesFromJson(privileges);
  const health = json.optionalStruct('Healthcheck', 'container.HealthConfig');
  if (health !== undefined) spec.healthcheck = healthFromJson(health);
}

function healthFromJson(json: GoStruct): HealthConfig {
  const duration = (key: string) => durationOfNanos(json.int64(key, 'time.Duration'));
  return create(HealthConfigSchema, {
    test: json.strings('Test'),
    interval: duration('Interval'),
    timeout: duration('Timeout'),
    startPeriod: duration('StartPeriod'),
    retries: clampInt32(json.int('Retries')),
  });
}

/** SwarmKit's field has 32 bits; a larger count means the same as the largest. */
function clampInt32(value: number): number {
  return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, value));
}

function privilegesFromJson(json: GoStruct): Privileges {
  const privileges = create(PrivilegesSchema);
  const credential = json.optionalStruct('CredentialSpec', 'swarm.CredentialSpec');
  if (credential !== undefined) {
    privileges.credentialSpec = create(Privileges_CredentialSpecSchema, {
      source: credentialSource(credential),
    });
  }
  const selinux = json.optionalStruct('SELinuxContext', 'swarm.SELinuxContext');
  if (selinux !== undefined) {
    privileges.selinuxContext = create(Privileges_SELinuxContextSchema, {
      disable: selinux.bool('Disable'),
      user: selinux.string('User'),
      role: selinux.string('Role'),
      type: selinux.string('Type'),
      level: selinux.string('Level'),
    });
  }
  return privileges;
}

function credentialSource(json: GoStruct) {
  const given = (['Config', 'File', 'Registry'] as const)
    .map((key) => ({ key, value: json.string(key) }))
    .filter(({ value }) => value !== '');
  const [first, second] = given;
  if (first === undefined) {
    throw badRequest(
      'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec',
    );
  }
  if (second !== undefined) {
    const [a, b] = [first.key.toLowerCase(), second.key.toLowerCase()];
    throw badRequest(
      `invalid CredentialSpec: cannot specify both "${a}" and "${b}" credential specs`,
    );
  }
  switch (first.key) {
    case 'Config':
      return { case: 'config', value: first.value } as const;
    case 'File':
      return { case: 'file', value: first.value } as const;
    case 'Registry':
      return { case: 'registry', value: first.value } as const;
  }
}

function fileFromJson(json: GoStruct): FileTarget {
  return create(FileTargetSchema, {
    name: json.string('Name'),
    uid: json.string('UID'),
    gid: json.string('GID'),
    mode: json.uint32('Mode', 'fs.FileMode'),
  });
}

function secretReferenceFromJson(json: GoStruct): SecretReference {
  const reference = create(SecretReferenceSchema, {
    secretId: json.string('SecretID'),
    secretName: json.string('SecretName'),
  });
  const file = json.optionalStruct('File', 'swarm.SecretReferenceFileTarget');
  if (file !== undefined) reference.target = { case: 'file', value: fileFromJson(file) };
  return reference;
}

function configReferenceFromJson(json: GoStruct): ConfigReference {
  const reference = create(ConfigReferenceSchema, {
    configId: json.string('ConfigID'),
    configName: json.string('ConfigName'),
  });
  const file = json.optionalStruct('File', 'swarm.ConfigReferenceFileTarget');
  const runtime = json.optionalStruct('Runtime', 'swarm.ConfigReferenceRuntimeTarget');
  if (file === undefined && runtime === undefined) {
    throw badRequest('invalid Config: either File or Runtime should be set');
  }
  if (file !== undefined && runtime !== undefined) {
    throw badRequest('invalid Config: cannot specify both File and Runtime');
  }
  if (file !== undefined) reference.target = { case: 'file', value: fileFromJson(file) };
  if (runtime !== undefined) {
    reference.target = { case: 'runtime', value: create(RuntimeTargetSchema) };
  }
  return reference;
}
