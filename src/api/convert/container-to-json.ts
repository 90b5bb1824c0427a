/** A container spec of a service or task as API JSON. */
import type { ContainerSpec } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import { ContainerSpec_Isolation } from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import type {
  ConfigReference,
  FileTarget,
  HealthConfig,
  Privileges,
  SecretReference,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { mapUnlessEmpty, unlessEmpty, unlessZero } from '../http/json-text.js';
import { durationToNanos, enumText, type JsonFields } from './common.js';
import { mountFields } from './mounts.js';

/** The `ContainerSpec` object. Registry credentials (`PullOptions`) are never shown. */
export function containerSpecFields(spec: ContainerSpec): JsonFields {
  return {
    Image: unlessZero(spec.image),
    Labels: mapUnlessEmpty(spec.labels),
    Command: unlessEmpty(spec.command),
    Args: unlessEmpty(spec.args),
    Hostname: unlessZero(spec.hostname),
    Env: unlessEmpty(spec.env),
    Dir: unlessZero(spec.dir),
    User: unlessZero(spec.user),
    Groups: unlessEmpty(spec.groups),
    Privileges: privilegesFields(spec.privileges),
    Init: spec.init,
    StopSignal: unlessZero(spec.stopSignal),
    TTY: unlessZero(spec.tty),
    OpenStdin: unlessZero(spec.openStdin),
    ReadOnly: unlessZero(spec.readOnly),
    Mounts: unlessEmpty(spec.mounts.map(mountFields)),
    StopGracePeriod: spec.stopGracePeriod && durationToNanos(spec.stopGracePeriod),
    Healthcheck: healthFields(spec.healthcheck),
    Hosts: unlessEmpty(spec.hosts),
    DNSConfig: spec.dnsConfig && {
      Nameservers: unlessEmpty(spec.dnsConfig.nameservers),
      Search: unlessEmpty(spec.dnsConfig.search),
      Options: unlessEmpty(spec.dnsConfig.options),
    },
    Secrets: unlessEmpty(spec.secrets.map(secretReferenceFields)),
    Configs: unlessEmpty(spec.configs.map(configReferenceFields)),
    Isolation: enumText(ContainerSpec_Isolation, spec.isolation),
    Sysctls: mapUnlessEmpty(spec.sysctls),
    CapabilityAdd: unlessEmpty(spec.capabilityAdd),
    CapabilityDrop: unlessEmpty(spec.capabilityDrop),
    Ulimits: unlessEmpty(
      spec.ulimits.map(({ name, hard, soft }) => ({ Name: name, Hard: hard, Soft: soft })),
    ),
  };
}

function privilegesFields(privileges: Privileges | undefined): JsonFields | undefined {
  if (privileges === undefined) return undefined;
  const { credentialSpec, selinuxContext } = privileges;
  const source = credentialSpec?.source;
  return {
    CredentialSpec:
      source === undefined
        ? null
        : {
            Config: source.case === 'config' ? source.value : '',
            File: source.case === 'file' ? source.value : '',
            Registry: source.case === 'registry' ? source.value : '',
          },
    SELinuxContext:
      selinuxContext === undefined
        ? null
        : {
            Disable: selinuxContext.disable,
            User: selinuxContext.user,
            Role: selinuxContext.role,
            Type: selinuxContext.type,
            Level: selinuxContext.level,
          },
  };
}

function healthFields(health: HealthConfig | undefined): JsonFields | undefined {
  return (
    health && {
      Test: unlessEmpty(health.test),
      Interval: unlessZero(durationToNanos(health.interval)),
      Timeout: unlessZero(durationToNanos(health.timeout)),
      StartPeriod: unlessZero(durationToNanos(health.startPeriod)),
      Retries: unlessZero(health.retries),
    }
  );
}

function fileFields(target: FileTarget): JsonFields {
  return { Name: target.name, UID: target.uid, GID: target.gid, Mode: target.mode };
}

function secretReferenceFields(reference: SecretReference): JsonFields {
  return {
    File: reference.target.case === 'file' ? fileFields(reference.target.value) : null,
    SecretID: reference.secretId,
    SecretName: reference.secretName,
  };
}

function configReferenceFields(reference: ConfigReference): JsonFields {
  const { target } = reference;
  return {
    File: target.case === 'file' ? fileFields(target.value) : undefined,
    Runtime: target.case === 'runtime' ? {} : undefined,
    ConfigID: reference.configId,
    ConfigName: reference.configName,
  };
}
