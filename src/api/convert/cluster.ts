/** The cluster object as API JSON (`/swarm`, `/info`), and cluster specs from it. */
import { clone, create } from '@bufbuild/protobuf';
import type { Cluster } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import {
  type ClusterSpec,
  ClusterSpecSchema,
} from '../../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  CAConfigSchema,
  DispatcherConfigSchema,
  EncryptionConfigSchema,
  type ExternalCA,
  ExternalCA_CAProtocol,
  ExternalCASchema,
  OrchestrationConfigSchema,
  RaftConfigSchema,
  type RootCA,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { issuerInfo } from '../../rpc/identity/tls-info.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { mapUnlessEmpty, unlessEmpty, unlessZero } from '../http/json-text.js';
import {
  annotationFields,
  annotationsFromJson,
  durationOfNanos,
  durationToNanos,
  enumText,
  enumValue,
  goQuote,
  type JsonFields,
  metaFields,
} from './common.js';

/** `ClusterInfo`: everything but the join tokens. Private keys are never shown. */
export function clusterInfoFields(cluster: Cluster): JsonFields {
  return {
    ID: cluster.id,
    ...metaFields(cluster.meta),
    Spec: clusterSpecFields(cluster.spec),
    TLSInfo: tlsInfoFields(cluster.rootCa),
    RootRotationInProgress: cluster.rootCa?.rootRotation !== undefined,
    DefaultAddrPool: cluster.defaultAddressPool.length === 0 ? null : cluster.defaultAddressPool,
    SubnetSize: cluster.subnetSize,
    DataPathPort: cluster.VXLANUDPPort,
  };
}

/** `Swarm`: with the join tokens. */
export function swarmFields(cluster: Cluster): JsonFields {
  return {
    ...clusterInfoFields(cluster),
    JoinTokens: {
      Worker: cluster.rootCa?.joinTokens?.worker ?? '',
      Manager: cluster.rootCa?.joinTokens?.manager ?? '',
    },
  };
}

/** A cluster spec as JSON. */
export function clusterSpecFields(spec: ClusterSpec | undefined): JsonFields {
  const { raft, caConfig } = spec ?? {};
  return {
    ...annotationFields(spec?.annotations),
    Orchestration: {
      TaskHistoryRetentionLimit: spec?.orchestration?.taskHistoryRetentionLimit ?? 0n,
    },
    Raft: {
      SnapshotInterval: unlessZero(raft?.snapshotInterval ?? 0n),
      KeepOldSnapshots: raft?.keepOldSnapshots ?? 0n,
      LogEntriesForSlowFollowers: unlessZero(raft?.logEntriesForSlowFollowers ?? 0n),
      ElectionTick: raft?.electionTick ?? 0,
      HeartbeatTick: raft?.heartbeatTick ?? 0,
    },
    Dispatcher: {
      HeartbeatPeriod: unlessZero(durationToNanos(spec?.dispatcher?.heartbeatPeriod)),
    },
    CAConfig: {
      NodeCertExpiry: unlessZero(durationToNanos(caConfig?.nodeCertExpiry)),
      ExternalCAs: unlessEmpty((caConfig?.externalCas ?? []).map(externalCaFields)),
      SigningCACert: unlessZero(text(caConfig?.signingCaCert)),
      ForceRotate: unlessZero(caConfig?.forceRotate ?? 0n),
    },
    TaskDefaults: {},
    EncryptionConfig: { AutoLockManagers: spec?.encryptionConfig?.autoLockManagers ?? false },
  };
}

function externalCaFields(ca: ExternalCA): JsonFields {
  return {
    Protocol: enumText(ExternalCA_CAProtocol, ca.protocol),
    URL: ca.url,
    Options: mapUnlessEmpty(ca.options),
    CACert: text(ca.caCert),
  };
}

function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString('utf8');
}

/** Fields of the last root seen; they change only when the root rotates. */
let lastTlsInfo: { readonly key: string; readonly fields: JsonFields } | undefined;

/** The root that nodes trust, and whose certificates they are to have: the next root's, if one comes. */
function tlsInfoFields(root: RootCA | undefined): JsonFields {
  const trustRoot = text(root?.caCert);
  if (trustRoot === '') return {};
  const issuer = text(root?.rootRotation?.caCert) || trustRoot;
  const key = `${trustRoot}\n${issuer}`;
  if (lastTlsInfo?.key !== key) lastTlsInfo = { key, fields: parseTlsInfo(trustRoot, issuer) };
  return lastTlsInfo.fields;
}

function parseTlsInfo(trustRoot: string, issuer: string): JsonFields {
  try {
    const { subject, publicKey } = issuerInfo(issuer);
    return {
      TrustRoot: trustRoot,
      CertIssuerSubject: Buffer.from(subject).toString('base64'),
      CertIssuerPublicKey: Buffer.from(publicKey).toString('base64'),
    };
  } catch {
    // Not a certificate: show what is stored, as the engine does, without the derived parts.
    return { TrustRoot: trustRoot };
  }
}

/**
 * Fields of JSON over a spec: zero and missing values keep what `base` has, except for the
 * switches that have no "unset" (autolock, force rotate). An empty `base` gives `swarm update`'s
 * full replacement.
 * @throws ApiError 400 `invalid protocol: …`
 */
export function mergeClusterSpec(json: GoStruct, base: ClusterSpec): ClusterSpec {
  const spec = clone(ClusterSpecSchema, base);
  const annotations = annotationsFromJson(json);
  spec.annotations ??= annotations;
  if (annotations.name !== '') spec.annotations.name = annotations.name;
  if (Object.keys(annotations.labels).length > 0) spec.annotations.labels = annotations.labels;

  const history = json
    .nested('Orchestration', 'swarm.OrchestrationConfig')
    .optionalInt64('TaskHistoryRetentionLimit');
  spec.orchestration ??= create(OrchestrationConfigSchema);
  if (history !== undefined) spec.orchestration.taskHistoryRetentionLimit = history;

  mergeRaft(spec, json.nested('Raft', 'swarm.RaftConfig'));
  const heartbeat = json
    .nested('Dispatcher', 'swarm.DispatcherConfig')
    .int64('HeartbeatPeriod', 'time.Duration');
  spec.dispatcher ??= create(DispatcherConfigSchema);
  if (heartbeat !== 0n) spec.dispatcher.heartbeatPeriod = durationOfNanos(heartbeat);

  mergeCa(spec, json.nested('CAConfig', 'swarm.CAConfig'));
  spec.encryptionConfig = create(EncryptionConfigSchema, {
    autoLockManagers: json
      .nested('EncryptionConfig', 'swarm.EncryptionConfig')
      .bool('AutoLockManagers'),
  });
  return spec;
}

function mergeRaft(spec: ClusterSpec, json: GoStruct): void {
  const raft = (spec.raft ??= create(RaftConfigSchema));
  const interval = json.uint64('SnapshotInterval');
  if (interval !== 0n) raft.snapshotInterval = interval;
  raft.keepOldSnapshots = json.optionalUint64('KeepOldSnapshots') ?? raft.keepOldSnapshots;
  const slow = json.uint64('LogEntriesForSlowFollowers');
  if (slow !== 0n) raft.logEntriesForSlowFollowers = slow;
  const heartbeat = json.int('HeartbeatTick');
  if (heartbeat !== 0) raft.heartbeatTick = heartbeat >>> 0;
  const election = json.int('ElectionTick');
  if (election !== 0) raft.electionTick = election >>> 0;
}

function mergeCa(spec: ClusterSpec, json: GoStruct): void {
  const ca = (spec.caConfig ??= create(CAConfigSchema));
  const expiry = json.int64('NodeCertExpiry', 'time.Duration');
  if (expiry !== 0n) ca.nodeCertExpiry = durationOfNanos(expiry);
  const certificate = json.string('SigningCACert');
  if (certificate !== '') ca.signingCaCert = new Uint8Array(Buffer.from(certificate));
  const key = json.string('SigningCAKey');
  if (key !== '') ca.signingCaKey = new Uint8Array(Buffer.from(key));
  ca.forceRotate = json.uint64('ForceRotate');
  for (const external of json.structs('ExternalCAs', 'swarm.ExternalCA')) {
    const name = external.string('Protocol', 'swarm.ExternalCAProtocol');
    const protocol = enumValue(ExternalCA_CAProtocol, name);
    if (protocol === undefined) throw badRequest(`invalid protocol: ${goQuote(name)}`);
    ca.externalCas.push(
      create(ExternalCASchema, {
        protocol,
        url: external.string('URL'),
        options: external.stringMap('Options'),
        caCert: new Uint8Array(Buffer.from(external.string('CACert'))),
      }),
    );
  }
}
