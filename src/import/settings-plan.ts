/**
 * The settings of a whole swarm. A new swarm has all of them, so that only what is not Swarm's default
 * here counts as set.
 */
import { clone, create } from '@bufbuild/protobuf';
import { durationOfNanos, durationToNanos } from '../api/convert/common.js';
import { checkClusterSpec } from '../manager/control/cluster-control.js';
import { DEFAULT_ADDRESS_POOL, DEFAULT_SUBNET_SIZE } from '../model/defaults.js';
import { SkepError } from '../model/errors.js';
import { type ClusterSpec, ClusterSpecSchema } from '../model/gen/docker/swarmkit/v1/specs_pb.js';
import {
  AnnotationsSchema,
  CAConfigSchema,
  DispatcherConfigSchema,
  OrchestrationConfigSchema,
  RaftConfigSchema,
} from '../model/gen/docker/swarmkit/v1/types_pb.js';
import { newClusterSpec } from '../model/new-cluster-spec.js';
import { TUNNEL_PORT_DEFAULT } from '../model/swarm-ports.js';
import type { Step } from './plan.js';
import type { SwarmSettings, SwarmView } from './swarm-view.js';

/** A number of the spec. Ticks are not among them: Skep's are its own. */
interface Setting {
  readonly name: string;
  /** Nanoseconds, told as seconds. */
  readonly isDuration?: boolean;
  /** 0 is a value, and not what the API leaves out. */
  readonly zeroCounts?: boolean;
  readonly get: (spec: ClusterSpec) => bigint;
  readonly set: (spec: ClusterSpec, value: bigint) => void;
}

const SETTINGS: readonly Setting[] = [
  {
    name: 'task history limit',
    zeroCounts: true,
    get: (spec) => spec.orchestration?.taskHistoryRetentionLimit ?? 0n,
    set: (spec, value) => {
      (spec.orchestration ??= create(OrchestrationConfigSchema)).taskHistoryRetentionLimit = value;
    },
  },
  {
    name: 'certificate expiry',
    isDuration: true,
    get: (spec) => durationToNanos(spec.caConfig?.nodeCertExpiry),
    set: (spec, value) => {
      (spec.caConfig ??= create(CAConfigSchema)).nodeCertExpiry = durationOfNanos(value);
    },
  },
  {
    name: 'dispatcher heartbeat',
    isDuration: true,
    get: (spec) => durationToNanos(spec.dispatcher?.heartbeatPeriod),
    set: (spec, value) => {
      const period = durationOfNanos(value);
      (spec.dispatcher ??= create(DispatcherConfigSchema)).heartbeatPeriod = period;
    },
  },
  {
    name: 'snapshot interval',
    get: (spec) => spec.raft?.snapshotInterval ?? 0n,
    set: (spec, value) => {
      (spec.raft ??= create(RaftConfigSchema)).snapshotInterval = value;
    },
  },
  {
    name: 'old snapshots kept',
    get: (spec) => spec.raft?.keepOldSnapshots ?? 0n,
    set: (spec, value) => {
      (spec.raft ??= create(RaftConfigSchema)).keepOldSnapshots = value;
    },
  },
  {
    name: 'log entries for slow followers',
    get: (spec) => spec.raft?.logEntriesForSlowFollowers ?? 0n,
    set: (spec, value) => {
      (spec.raft ??= create(RaftConfigSchema)).logEntriesForSlowFollowers = value;
    },
  },
];

/** The step of the swarm's settings, with what only `swarm init` or a person can set. */
export function planSettings(there: SwarmView, here: SwarmView): Step {
  const wanted = there.settings.spec;
  const spec = clone(ClusterSpecSchema, here.settings.spec);
  const standard = newClusterSpec();
  const changes: string[] = [];
  const notes: string[] = [];
  for (const { name, get, set, isDuration, zeroCounts } of SETTINGS) {
    const [value, current] = [get(wanted), get(spec)];
    const isUnset = value === 0n && zeroCounts !== true;
    if (value === current || isUnset) continue;
    if (current === get(standard)) {
      set(spec, value);
      changes.push(`${name} ${isDuration ? `${Number(value) / 1e9} s` : value}`);
    } else notes.push(`differs here: ${name}`);
  }
  const { labels } = (spec.annotations ??= create(AnnotationsSchema));
  for (const [key, value] of Object.entries(wanted.annotations?.labels ?? {})) {
    if (Object.hasOwn(labels, key)) {
      if (labels[key] !== value) notes.push(`differs here: label ${key}`);
      continue;
    }
    Object.defineProperty(labels, key, { value, enumerable: true });
    changes.push(`label ${key}`);
  }
  notes.push(...leftToPeople(there.settings, here.settings));
  const step = { kind: 'swarm', name: 'settings', notes } as const;
  if (changes.length === 0)
    return { ...step, outcome: { kind: 'present', text: 'nothing to change' } };
  try {
    spec.annotations.name = 'default';
    checkClusterSpec(spec);
  } catch (error) {
    return { ...step, outcome: { kind: 'refused', text: SkepError.from(error).message } };
  }
  const change = { kind: 'swarm', version: here.settings.version, spec } as const;
  return { ...step, outcome: { kind: 'change', change, text: changes.join(', ') } };
}

/** What an import cannot or must not set. */
function leftToPeople(there: SwarmSettings, here: SwarmSettings): readonly string[] {
  const locks = (settings: SwarmSettings) => settings.spec.encryptionConfig?.autoLockManagers;
  const pools = ({ addressPools, subnetSize }: SwarmSettings) => {
    const pool = addressPools.length === 0 ? DEFAULT_ADDRESS_POOL : addressPools.join(', ');
    return `${pool}, /${subnetSize || DEFAULT_SUBNET_SIZE}`;
  };
  const port = ({ dataPathPort }: SwarmSettings) => dataPathPort || TUNNEL_PORT_DEFAULT;
  return [
    ...(locks(there) && !locks(here)
      ? ['managers are locked there: "docker swarm update --autolock=true" locks them here']
      : []),
    ...((there.spec.caConfig?.externalCas.length ?? 0) > 0 &&
    (here.spec.caConfig?.externalCas.length ?? 0) === 0
      ? ['certificates are issued by an external authority there']
      : []),
    ...(pools(there) === pools(here)
      ? []
      : [`differs here: address pool (${pools(there)} there; set by "swarm init")`]),
    ...(port(there) === port(here)
      ? []
      : [`differs here: data path port (${port(there)} there; set by "swarm init")`]),
    ...there.unknown.map((place) => `not known here, and lost: ${place}`),
  ];
}
