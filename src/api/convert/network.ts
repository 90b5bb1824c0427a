/** Swarm networks: as `/networks` shows them, as tasks carry them, and from `/networks/create`. */
import { create } from '@bufbuild/protobuf';
import { PREDEFINED_NETWORK_LABEL } from '../../model/defaults.js';
import type { Network, NetworkAttachment } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type NetworkSpec,
  NetworkSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  DriverSchema,
  IPAMConfig_AddressFamily,
  IPAMConfigSchema,
  type IPAMOptions,
  IPAMOptionsSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import type { GoStruct } from '../http/go-struct.js';
import {
  type JsonOut,
  mapUnlessEmpty,
  sortedMap,
  unlessEmpty,
  unlessZero,
} from '../http/json-text.js';
import {
  annotationFields,
  driverFields,
  type JsonFields,
  metaFields,
  timestampToText,
} from './common.js';

/** Label by which the first releases of Swarm marked their ingress network. */
const LEGACY_INGRESS_LABEL = 'com.docker.swarm.internal';

/** True for a network that lists hide (swarm-wide twins of `host` and `bridge`). */
export function isPredefined(network: Network): boolean {
  return network.spec?.annotations?.labels[PREDEFINED_NETWORK_LABEL] === 'true';
}

function isIngress(network: Network): boolean {
  if (network.spec?.ingress) return true;
  const annotations = network.spec?.annotations;
  return annotations?.name === 'ingress' && LEGACY_INGRESS_LABEL in annotations.labels;
}

/** A swarm network in the form of `/networks`; `containers` are those of this node, if known. */
export function networkResourceFields(network: Network, containers: JsonOut = null): JsonFields {
  const { spec, ipam, driverState } = network;
  const labels = spec?.annotations?.labels ?? {};
  return {
    Name: spec?.annotations?.name ?? '',
    Id: network.id,
    Created: timestampToText(network.meta?.createdAt),
    Scope: 'swarm',
    Driver: driverState?.name ?? '',
    EnableIPv6: spec?.ipv6Enabled ?? false,
    IPAM: {
      Driver: ipam?.driver?.name ?? '',
      Options: mapUnlessEmpty(ipam?.driver?.options ?? {}) ?? null,
      Config:
        ipam === undefined
          ? null
          : ipam.configs.map((config) => ({
              Subnet: unlessZero(config.subnet),
              IPRange: unlessZero(config.range),
              Gateway: unlessZero(config.gateway),
              AuxiliaryAddresses: mapUnlessEmpty(config.reserved),
            })),
    },
    Internal: spec?.internal ?? false,
    Attachable: spec?.attachable ?? false,
    Ingress: isIngress(network),
    ConfigFrom: { Network: spec?.configFrom.case === 'network' ? spec.configFrom.value : '' },
    ConfigOnly: false,
    Containers: containers,
    Options:
      driverState === undefined
        ? null
        : (mapUnlessEmpty({ ...spec?.driverConfig?.options, ...driverState.options }) ?? null),
    Labels: Object.keys(labels).length === 0 ? null : sortedMap(labels),
  };
}

/** A network attachment of a task, with the whole network in it. */
export function attachmentFields(attachment: NetworkAttachment): JsonFields {
  const { network } = attachment;
  return {
    Network: network === undefined ? {} : swarmNetworkFields(network),
    Addresses: unlessEmpty(attachment.addresses),
  };
}

function swarmNetworkFields(network: Network): JsonFields {
  const { spec } = network;
  return {
    ID: network.id,
    ...metaFields(network.meta),
    Spec: {
      ...annotationFields(spec?.annotations),
      DriverConfiguration: driverFields(spec?.driverConfig),
      IPv6Enabled: unlessZero(spec?.ipv6Enabled ?? false),
      Internal: unlessZero(spec?.internal ?? false),
      Attachable: unlessZero(spec?.attachable ?? false),
      Ingress: unlessZero(isIngress(network)),
      IPAMOptions: ipamFields(spec?.ipam),
      ConfigFrom:
        spec?.configFrom.case === 'network' ? { Network: spec.configFrom.value } : undefined,
      Scope: 'swarm',
    },
    DriverState: driverFields(network.driverState) ?? {},
    IPAMOptions: ipamFields(network.ipam),
  };
}

function ipamFields(ipam: IPAMOptions | undefined): JsonFields | undefined {
  return (
    ipam && {
      Driver: driverFields(ipam.driver) ?? {},
      Configs: unlessEmpty(
        ipam.configs.map((config) => ({
          Subnet: unlessZero(config.subnet),
          Range: unlessZero(config.range),
          Gateway: unlessZero(config.gateway),
        })),
      ),
    }
  );
}

/** The body of `/networks/create` that makes this network. */
export function networkSpecFields(spec: NetworkSpec): JsonFields {
  const { annotations, driverConfig, ipam, configFrom } = spec;
  return {
    Name: annotations?.name ?? '',
    CheckDuplicate: true,
    Driver: driverConfig?.name ?? '',
    EnableIPv6: spec.ipv6Enabled,
    IPAM: ipam && {
      Driver: ipam.driver?.name ?? 'default',
      Options: mapUnlessEmpty(ipam.driver?.options ?? {}),
      Config: ipam.configs.map((config) => ({
        Subnet: unlessZero(config.subnet),
        IPRange: unlessZero(config.range),
        Gateway: unlessZero(config.gateway),
        AuxiliaryAddresses: mapUnlessEmpty(config.reserved),
      })),
    },
    Internal: spec.internal,
    Attachable: spec.attachable,
    Ingress: spec.ingress,
    ConfigFrom: configFrom.case === 'network' ? { Network: configFrom.value } : undefined,
    Options: mapUnlessEmpty(driverConfig?.options ?? {}),
    Labels: mapUnlessEmpty(annotations?.labels ?? {}),
  };
}

/** A network spec from the body of `/networks/create`. */
export function networkSpecFromJson(json: GoStruct): NetworkSpec {
  const spec = create(NetworkSpecSchema, {
    annotations: create(AnnotationsSchema, {
      name: json.string('Name'),
      labels: json.stringMap('Labels'),
    }),
    driverConfig: create(DriverSchema, {
      name: json.string('Driver'),
      options: json.stringMap('Options'),
    }),
    ipv6Enabled: json.bool('EnableIPv6'),
    internal: json.bool('Internal'),
    attachable: json.bool('Attachable'),
    ingress: json.bool('Ingress'),
  });
  const ipam = json.optionalStruct('IPAM', 'network.IPAM');
  if (ipam !== undefined) spec.ipam = ipamFromJson(ipam);
  const from = json.optionalStruct('ConfigFrom', 'network.ConfigReference');
  if (from !== undefined && from.string('Network') !== '') {
    spec.configFrom = { case: 'network', value: from.string('Network') };
  }
  return spec;
}

function ipamFromJson(json: GoStruct): IPAMOptions {
  const driver = json.string('Driver');
  return create(IPAMOptionsSchema, {
    driver: create(DriverSchema, {
      name: driver === '' ? 'default' : driver,
      options: json.stringMap('Options'),
    }),
    configs: json.structs('Config', 'network.IPAMConfig').map((config) => {
      const subnet = config.string('Subnet');
      return create(IPAMConfigSchema, {
        family: subnet.includes(':')
          ? IPAMConfig_AddressFamily.IPV6
          : IPAMConfig_AddressFamily.IPV4,
        subnet,
        range: config.string('IPRange'),
        gateway: config.string('Gateway'),
        reserved: config.stringMap('AuxiliaryAddresses'),
      });
    }),
  });
}
