/**
 * Everything Skep keeps in labels because Swarm's schema has no field for it: one table of keys,
 * with the objects they belong on, their values and defaults. Keys that start with `skep.` and are
 * not here are refused, so that a typing error cannot pass for a setting. docs/labels.md is
 * printed from this table (labels-page.ts).
 */
import {
  AUTOSCALE_COOLDOWN_LABEL,
  AUTOSCALE_CPU_LABEL,
  AUTOSCALE_DRY_RUN_LABEL,
  AUTOSCALE_MAX_LABEL,
  AUTOSCALE_MIN_LABEL,
  AUTOSCALE_WINDOW_LABEL,
  autoscaleProblem,
} from './autoscale-labels.js';
import { BALANCE_POLICIES, LB_POLICY_LABEL } from './balance-policy.js';
import {
  CONTAINER_ALLOW_LABEL,
  CONTAINER_SETTINGS,
  type ContainerSetting,
  containerSettingLabel,
  parseAllowedSettings,
  readContainerSetting,
} from './container-settings.js';
import { ENGINE_SOCKET_LABEL } from './engine-socket.js';
import { parseCron } from './cron.js';
import { parseDurationMs } from './duration.js';
import { invariant, SkepError } from './errors.js';
import {
  fixedAddressLabel,
  parseAddressRanges,
  parseFixedAddress,
  RESERVED_LABEL,
} from './fixed-addresses.js';
import { parseNetworks, parseScope, publishLabel } from './publish-rules.js';
import {
  parseHttpTarget,
  parseReadinessCommand,
  READINESS_CMD_LABEL,
  READINESS_HTTP_LABEL,
  READINESS_INTERVAL_LABEL,
  READINESS_INTERVAL_MS,
  READINESS_RETRIES,
  READINESS_RETRIES_LABEL,
  READINESS_START_PERIOD_LABEL,
  READINESS_START_PERIOD_MS,
  READINESS_TCP_LABEL,
  READINESS_TIMEOUT_LABEL,
  READINESS_TIMEOUT_MS,
} from './readiness.js';
import { LB_RETURN_LABEL, RETURN_PATHS } from './return-path.js';

/** Prefix of all keys in this table; no other software may use it. */
export const SKEP_PREFIX = 'skep.';

/** Engine label in a node's description: version of the skepd that runs it. Stock engines lack it. */
export const AGENT_VERSION_LABEL = 'skep.agent';
/** How long only an agent may be silent before its node counts as down. */
export const AGENT_GRACE_LABEL = 'skep.agent_grace';
/** How long a node must be dead before its tasks are started elsewhere. */
export const RESCHEDULE_AFTER_LABEL = 'skep.reschedule_after';

/** How long a node must reach nobody before it takes its own endpoints off the networks. */
export const FENCE_AFTER_LABEL = 'skep.fence_after';
/** How long clients may keep the addresses that names stand for. */
export const DNS_TTL_LABEL = 'skep.dns_ttl';

/** Family of all nodes' data path addresses. */
export const DATA_PATH_FAMILY_LABEL = 'skep.data_path.family';
/**
 * Told to agents with their node, never set by users: ids of nodes that were removed and whose
 * certificates may still be valid, separated by commas.
 */
export const REMOVED_NODES_LABEL = 'skep.removed_nodes';
/** Values of {@link DATA_PATH_FAMILY_LABEL}. */
export type DataPathFamily = 'ipv4' | 'ipv6';

/** Services that are to be up before a service begins. */
export const DEPENDS_ON_LABEL = 'skep.depends_on';
/** When a job runs. */
export const CRON_LABEL = 'skep.cron';

/** How tasks leave a drained node. */
export const DRAIN_LABEL = 'skep.drain';

/** Whether tasks are moved to nodes that joined or came back. */
export const REBALANCE_LABEL = 'skep.rebalance';

/** Of which secret or config of its stack another one is a later version. */
export const VERSION_OF_LABEL = 'skep.stack.version_of';

/** First of the two UDP ports of a node's WireGuard devices. */
export const ENCRYPTION_PORT_LABEL = 'skep.encryption.port';
/** How often a node changes its WireGuard key. */
export const ENCRYPTION_ROTATION_LABEL = 'skep.encryption.rotation';

/** Driver option of a network whose packets must be encrypted; set by `--opt encrypted`. */
export const ENCRYPTED_DRIVER_OPTION = 'encrypted';

/**
 * Where a key may be set. Labels of the `engine` and of an `engine network` are set by skepd
 * itself, never by users.
 */
export type LabelObject =
  | 'cluster'
  | 'service'
  | 'container'
  | 'node'
  | 'network'
  | 'secret'
  | 'config'
  | 'engine'
  | 'engine network';

/** What a value looks like. */
export type LabelValue =
  /** Go-style duration: `60s`, `1m30s`, `250ms`; `minMs` and `maxMs` included. */
  | { readonly type: 'duration'; readonly minMs: number; readonly maxMs: number }
  /** An address, an interface name, or `lo`. */
  | { readonly type: 'scope' }
  /** IPv4 addresses and ranges of them, separated by commas. */
  | { readonly type: 'ranges' }
  /** One IPv4 address. */
  | { readonly type: 'address' }
  /** Networks in CIDR notation, separated by commas. */
  | { readonly type: 'networks' }
  /** Names of services, separated by commas. */
  | { readonly type: 'services' }
  /** Cron's five fields. */
  | { readonly type: 'cron' }
  /** A command for a shell. */
  | { readonly type: 'command' }
  /** What a setting of a container takes. */
  | { readonly type: 'setting'; readonly setting: ContainerSetting }
  /** Names of such settings. */
  | { readonly type: 'settings' }
  /** Port and path of an HTTP probe. */
  | { readonly type: 'http' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  /** Whole number, `min` and `max` included. */
  | { readonly type: 'number'; readonly min: number; readonly max: number }
  | { readonly type: 'text' };

/** One row of the table. */
export interface LabelDefinition {
  /** `<port>` in it stands for a published port, `<network>` for a network. */
  readonly key: string;
  readonly objects: readonly LabelObject[];
  readonly value: LabelValue;
  /** Used where the key is not set; for the reader also. */
  readonly defaultValue: string;
  /** Whether a change acts at once, without new tasks. */
  readonly live: boolean;
  readonly meaning: string;
}

const HOUR_MS = 3_600_000;

const SERVICE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/;
/** Names in one list of services. */
const SERVICE_NAMES_MAX = 64;

/** The table. */
export const LABELS: readonly LabelDefinition[] = [
  {
    key: AGENT_VERSION_LABEL,
    objects: ['engine'],
    value: { type: 'text' },
    defaultValue: '',
    live: true,
    meaning:
      'Version of the skepd on the node, told by itself. Nodes without it run a stock engine.',
  },
  {
    key: AGENT_GRACE_LABEL,
    objects: ['cluster'],
    value: { type: 'duration', minMs: 1_000, maxMs: HOUR_MS },
    defaultValue: '60s',
    live: true,
    meaning:
      'How long a node whose data path still answers may be without an agent before its tasks ' +
      'are started elsewhere.',
  },
  {
    key: FENCE_AFTER_LABEL,
    objects: ['cluster'],
    value: { type: 'duration', minMs: 1_000, maxMs: HOUR_MS },
    defaultValue: '30s',
    live: true,
    meaning:
      'How long a node may reach neither a manager nor half of the other nodes before it takes its ' +
      'containers off the swarm\u2019s networks. Addresses of tasks that were lost with their node are ' +
      'not given out again for twice that, and for 15 s more than it at least.',
  },
  {
    key: RESCHEDULE_AFTER_LABEL,
    objects: ['cluster', 'service'],
    value: { type: 'duration', minMs: 0, maxMs: HOUR_MS },
    defaultValue: '4s',
    live: true,
    meaning:
      'How long a node must be silent before it counts as down and its tasks are started elsewhere; ' +
      'on a service, how long before its own tasks are, if that is longer.',
  },
  {
    key: DEPENDS_ON_LABEL,
    objects: ['service'],
    value: { type: 'services' },
    defaultValue: '',
    live: true,
    meaning:
      'Services that must be up before this one begins: its tasks stay pending and say what they wait ' +
      'for, until all wanted tasks of each named service run and are healthy (of a job: are complete). It ' +
      'holds until the first task of the service has got a node, and never again then: restarts and ' +
      'updates do not wait. In a stack the names are those of its file. A named service that is removed ' +
      'or not there is waited for; services that wait for each other do so for ever.',
  },
  {
    key: CRON_LABEL,
    objects: ['service'],
    value: { type: 'cron' },
    defaultValue: '',
    live: true,
    meaning:
      'When a job (`--mode replicated-job`, `global-job`) runs, in UTC: minute, hour, day of month, ' +
      'month, day of week, with `*`, lists, ranges, steps and names; if both days are restricted, ' +
      'either will do. At each such minute the whole job runs again, unless it still runs: then this time ' +
      'is left out. Creating the job does not run it, each update does at once (`docker service update ' +
      '--force`). What was due while no manager led is made up for within a minute, or left out.',
  },
  {
    key: DRAIN_LABEL,
    objects: ['cluster', 'service'],
    value: { type: 'choice', choices: ['at-once', 'rolling'] },
    defaultValue: 'at-once',
    live: true,
    meaning:
      'How running tasks of a replicated service leave a node whose availability becomes `drain`: all ' +
      '`at-once`, as in Swarm, or `rolling`, one after another within the service\u2019s update config ' +
      '(`--update-parallelism`, `--update-delay`, `--update-order`, `--update-monitor`). With `start-first` a ' +
      'task stays until its replacement runs elsewhere and is healthy, also if no node has room for it: ' +
      '`docker service ps` says why. An update of the service goes first. When a moved task ends within the ' +
      'monitoring period, the service\u2019s moves rest for a minute (with `--update-failure-action continue` ' +
      'only those of the tasks that failed). The update status does not change, and nothing is rolled ' +
      'back. What does not run yet, jobs and global services leave at once, and so does everything when the ' +
      'node goes down. A service\u2019s value goes before the cluster\u2019s.',
  },
  {
    key: REBALANCE_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: ['true', 'false'] },
    defaultValue: 'false',
    live: true,
    meaning:
      'Whether running tasks of a replicated service are moved until they are spread evenly, such as when a ' +
      'node joined or came back. One task is moved at a time, replaced as by an update of the service (order, ' +
      'delay, monitor), and only if (1) all tasks of the service run, none of them on a drained node, and no ' +
      'update is under way or paused; (2) the scheduler, were the task not there, would put it on the other ' +
      'node: constraints, preferences, reservations, host-mode ports and the limit of replicas per node hold; ' +
      '(3) at the first level at which the two places differ, a value of a spread preference and then the ' +
      'node, the present one has at least two more of the service\u2019s tasks than the other; (4) the ' +
      'other node has been ready and active for 30 s without a break. So each move makes the spread better, ' +
      'none is ever turned round, and they come to an end. Tasks of paused nodes stay. When a moved task ends ' +
      'within the monitoring period, or gets no node within 10 s, the service\u2019s moves rest for a minute. ' +
      'The update status does not change.',
  },
  {
    key: AUTOSCALE_MAX_LABEL,
    objects: ['service'],
    value: { type: 'number', min: 1, max: 10_000 },
    defaultValue: '',
    live: true,
    meaning:
      'Most replicas of a replicated service that is scaled by the CPU its tasks use; together with ' +
      '`skep.autoscale.cpu` it turns this on. Every 10 s the leader takes what is needed to be the sum of what ' +
      'the tasks use, in percent, divided by `skep.autoscale.cpu` and rounded up, between `min` and `max`; the ' +
      'present number if that would be within a tenth of the target. Nodes with skepd tell what their tasks used ' +
      'in the last 10 s; while less than half of the replicas have told within 30 s nothing is decided; the rest ' +
      'count as using nothing where more is needed, and as using just the target where less is. The number of ' +
      'replicas changes when more (or less) was needed at every look of the whole window, to what of that is the ' +
      'least change, and not again within the cooldown. A number outside `min` and `max` is corrected at once, ' +
      'except 0, which turns scaling off. `docker service scale` within them holds until a whole window has asked ' +
      'for another number. Nothing is decided while an update is under way or paused. A change is one of the ' +
      'replicas alone: no new version of the tasks, the update status stays, and a rollback keeps the number. ' +
      '`docker events` on any manager shows each decision (`service autoscale`). A new leader watches for a whole ' +
      'window first.',
  },
  {
    key: AUTOSCALE_MIN_LABEL,
    objects: ['service'],
    value: { type: 'number', min: 1, max: 10_000 },
    defaultValue: '1',
    live: true,
    meaning: 'Fewest replicas of a service that is scaled.',
  },
  {
    key: AUTOSCALE_CPU_LABEL,
    objects: ['service'],
    value: { type: 'number', min: 1, max: 1000 },
    defaultValue: '',
    live: true,
    meaning:
      'CPU that the tasks of the service should use on average, in percent of the CPU each reserves ' +
      '(`--reserve-cpu`), without that of its limit (`--limit-cpu`), without both of one CPU.',
  },
  {
    key: AUTOSCALE_WINDOW_LABEL,
    objects: ['service'],
    value: { type: 'duration', minMs: 10_000, maxMs: HOUR_MS },
    defaultValue: '60s',
    live: true,
    meaning: 'How long more, or less, must be needed without a break before a service is scaled.',
  },
  {
    key: AUTOSCALE_COOLDOWN_LABEL,
    objects: ['service'],
    value: { type: 'duration', minMs: 0, maxMs: 24 * HOUR_MS },
    defaultValue: '3m',
    live: true,
    meaning: 'How long after a service was scaled by its load it is not scaled again.',
  },
  {
    key: AUTOSCALE_DRY_RUN_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: ['true', 'false'] },
    defaultValue: 'false',
    live: true,
    meaning:
      'Whether a service that is scaled by its load is left as it is: what would be done is logged by the ' +
      'leader and shown by `docker events` on all managers (`service autoscale`, with `dry-run=true`), again after ' +
      'each cooldown.',
  },
  {
    key: DNS_TTL_LABEL,
    objects: ['cluster'],
    value: { type: 'number', min: 0, max: 600 },
    defaultValue: '5',
    live: true,
    meaning:
      'Time to live of answers about names of services and tasks, in seconds: how long clients may ' +
      'keep using the address of a task that is gone.',
  },
  {
    key: DATA_PATH_FAMILY_LABEL,
    objects: ['cluster'],
    value: { type: 'choice', choices: ['ipv4', 'ipv6'] },
    defaultValue: 'ipv4',
    live: false,
    meaning:
      'Address family of tunnels between nodes: that of the data path address of the node that founded ' +
      'the swarm. Set by skepd then, and never changed; nodes that join take an address of it, and ' +
      'are refused without one.',
  },
  {
    key: 'skep.publish.<port>.address',
    objects: ['service'],
    value: { type: 'scope' },
    defaultValue: '',
    live: true,
    meaning:
      'The only address on which the published port answers: an address (other nodes do not ' +
      'publish it), the name of an interface (each node: its addresses there), or `lo` (sockets of ' +
      'each node itself). Not set: every address of every node.',
  },
  {
    key: 'skep.publish.<port>.allow',
    objects: ['service'],
    value: { type: 'networks' },
    defaultValue: '',
    live: true,
    meaning:
      'Client networks that may open connections to the published port, such as ' +
      '`192.0.2.0/24,2001:db8::/32`; sockets of the node asked always may. Not set: everybody.',
  },
  {
    key: LB_POLICY_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: BALANCE_POLICIES },
    defaultValue: 'maglev',
    live: true,
    meaning:
      'How a new connection gets its task: by a hash of the client\u2019s address and ports ' +
      '(`maglev`) or of its address (`client-ip`), the same on every node; the task with the fewest ' +
      'connections opened on the node asked (`least-conn`); as `maglev` among the tasks of the node ' +
      'asked, others only without these (`local-first`). Stock engines go round.',
  },
  {
    key: LB_RETURN_LABEL,
    objects: ['service'],
    value: { type: 'choice', choices: RETURN_PATHS },
    defaultValue: 'tunnel',
    live: true,
    meaning:
      'How replies of published ports get back from a task on another node than the one asked: ' +
      'through the node asked (`tunnel`), or straight to clients outside (`direct`), under the address ' +
      'they asked. Direct is used only between nodes whose probes show that the network carries it, ' +
      'and for clients that ask a node at its data-path address; `skep net services` says where.',
  },
  {
    key: RESERVED_LABEL,
    objects: ['network'],
    value: { type: 'ranges' },
    defaultValue: '',
    live: false,
    meaning:
      'Addresses of the network (of its `--subnet`) that are given only to services whose labels ask ' +
      'for them, such as `10.0.9.192/26`. See [Fixed addresses](#fixed-addresses).',
  },
  {
    key: 'skep.vip.<network>',
    objects: ['service'],
    value: { type: 'address' },
    defaultValue: '',
    live: true,
    meaning: 'The virtual address of the service on the network, one of those reserved there.',
  },
  {
    key: 'skep.addresses.<network>',
    objects: ['service'],
    value: { type: 'ranges' },
    defaultValue: '',
    live: false,
    meaning:
      'The addresses of its tasks there, of those reserved: slot n gets the nth, as in ' +
      '`10.0.9.210-10.0.9.219`. A change replaces the tasks that have another one, within the update config.',
  },
  {
    key: READINESS_CMD_LABEL,
    objects: ['service'],
    value: { type: 'command' },
    defaultValue: '',
    live: true,
    meaning:
      'A probe of whether a task may have traffic: the command runs in its container, as one of ' +
      '`HEALTHCHECK CMD-SHELL` does, and must end with 0. See [Readiness](#readiness).',
  },
  {
    key: READINESS_HTTP_LABEL,
    objects: ['service'],
    value: { type: 'http' },
    defaultValue: '',
    live: true,
    meaning:
      'A probe: `GET` of this path, at the task\u2019s own address and in its network namespace, must ' +
      'be answered with a status from 200 to 399.',
  },
  {
    key: READINESS_TCP_LABEL,
    objects: ['service'],
    value: { type: 'number', min: 1, max: 65_535 },
    defaultValue: '',
    live: true,
    meaning: 'A probe: this port must take a TCP connection there.',
  },
  {
    key: READINESS_INTERVAL_LABEL,
    objects: ['service'],
    value: {
      type: 'duration',
      minMs: READINESS_INTERVAL_MS.min,
      maxMs: READINESS_INTERVAL_MS.max,
    },
    defaultValue: '5s',
    live: true,
    meaning: 'From the end of one look at a task to the next.',
  },
  {
    key: READINESS_TIMEOUT_LABEL,
    objects: ['service'],
    value: { type: 'duration', minMs: READINESS_TIMEOUT_MS.min, maxMs: READINESS_TIMEOUT_MS.max },
    defaultValue: '3s',
    live: true,
    meaning: 'How long a probe may take; a command that takes longer is killed.',
  },
  {
    key: READINESS_RETRIES_LABEL,
    objects: ['service'],
    value: { type: 'number', min: READINESS_RETRIES.min, max: READINESS_RETRIES.max },
    defaultValue: '3',
    live: true,
    meaning: 'Looks in a row that must fail before a task is out of traffic.',
  },
  {
    key: READINESS_START_PERIOD_LABEL,
    objects: ['service'],
    value: {
      type: 'duration',
      minMs: READINESS_START_PERIOD_MS.min,
      maxMs: READINESS_START_PERIOD_MS.max,
    },
    defaultValue: '',
    live: true,
    meaning:
      'How long a new task has for its first success; then it fails, as one that never became ' +
      'healthy does, and an update takes its failure action. Not set: as long as it takes.',
  },
  {
    key: ENGINE_SOCKET_LABEL,
    objects: ['service', 'container'],
    value: { type: 'choice', choices: ['true', 'false'] },
    defaultValue: 'false',
    live: false,
    meaning:
      'Whether a bind of the engine\u2019s socket (`/var/run/docker.sock`) really gets it. Otherwise ' +
      'skepd\u2019s socket is bound in its place, through which the container sees the swarm.',
  },
  {
    key: CONTAINER_ALLOW_LABEL,
    objects: ['cluster'],
    value: { type: 'settings' },
    defaultValue: '',
    live: true,
    meaning:
      'Which of the following settings services may have: their names without the prefix, separated by ' +
      'commas, or `all`. Not set: none. See [Container settings](#container-settings).',
  },
  ...CONTAINER_SETTINGS.map(
    (setting): LabelDefinition => ({
      key: containerSettingLabel(setting),
      objects: ['service', 'container'],
      value: { type: 'setting', setting },
      defaultValue: '',
      live: false,
      meaning: setting.meaning,
    }),
  ),
  {
    key: VERSION_OF_LABEL,
    objects: ['secret', 'config'],
    value: { type: 'text' },
    defaultValue: '',
    live: true,
    meaning:
      'Set by `skep stack deploy` on a later version of a secret or config: the name of the first. ' +
      'Only what has this label and that of the stack is taken for a version, and removed once unused.',
  },
  {
    key: ENCRYPTION_PORT_LABEL,
    objects: ['node'],
    value: { type: 'number', min: 1024, max: 65_534 },
    defaultValue: '7947',
    live: true,
    meaning:
      'First of the two UDP ports a node uses for encrypted networks (this and the next one). ' +
      'A change makes a new key.',
  },
  {
    key: ENCRYPTION_ROTATION_LABEL,
    objects: ['node'],
    value: { type: 'duration', minMs: 1_000, maxMs: 7 * 24 * HOUR_MS },
    defaultValue: '12h',
    live: true,
    meaning: 'How often a node changes its key for encrypted networks.',
  },
  {
    key: 'skep.network.id',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: '',
    live: false,
    meaning: 'Id of the swarm network that a network on the engine stands for. Set by skepd.',
  },
  {
    key: 'skep.network.vni',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: '',
    live: false,
    meaning: 'Its VXLAN identifier, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.ingress',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether it is the ingress network, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.encrypted',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether its packets are encrypted, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.attachable',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether plain containers may join it, as a driver option. Set by skepd.',
  },
];

const BY_KEY = new Map(LABELS.map((definition) => [definition.key, definition]));

/** The row of a key, or undefined. */
export function labelDefinition(key: string): LabelDefinition | undefined {
  const publish = publishLabel(key);
  if (publish !== undefined) return BY_KEY.get(`skep.publish.<port>.${publish.kind}`);
  const fixed = fixedAddressLabel(key);
  return BY_KEY.get(fixed === undefined ? key : `skep.${fixed.kind}.<network>`);
}

/**
 * Checks the `skep.` keys among `labels` for an object of this kind.
 * @throws SkepError invalid_argument naming the key
 */
export function checkLabels(object: LabelObject, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (key.startsWith(SKEP_PREFIX)) checkLabel(object, key, value);
  }
  const problem = object === 'service' ? autoscaleProblem(labels) : undefined;
  if (problem !== undefined) throw refusal(problem);
}

/**
 * Checks one `skep.` key.
 * @throws SkepError invalid_argument
 */
export function checkLabel(object: LabelObject, key: string, value: string): void {
  const definition = key.includes('<') ? undefined : labelDefinition(key);
  if (definition === undefined) {
    const known = LABELS.filter((row) => row.objects.includes(object)).map((row) => row.key);
    const hint = known.length === 0 ? 'there are none for this object' : known.join(', ');
    throw refusal(`unknown label ${key}: keys starting with skep. are reserved (${hint})`);
  }
  if (!definition.objects.includes(object)) {
    throw refusal(`label ${key} cannot be set on a ${object}`);
  }
  checkValue(key, definition.value, value);
}

function checkValue(key: string, rule: LabelValue, value: string): void {
  switch (rule.type) {
    case 'text':
      return;
    case 'choice':
      if (rule.choices.includes(value)) return;
      throw refusal(`label ${key}: must be ${rule.choices.join(', ')}, not ${value}`);
    case 'duration':
      return checkDuration(key, rule, value);
    case 'number':
      if (inRange(value, rule) !== undefined) return;
      throw refusal(`label ${key}: must be ${rule.min} to ${rule.max}, not ${value}`);
    case 'cron':
      return checkCron(key, value);
    case 'ranges':
      if (parseAddressRanges(value) !== undefined) return;
      throw refusal(
        `label ${key}: ${value} is not a list of different IPv4 addresses such as ` +
          '10.0.9.10-10.0.9.19,10.0.9.64/28',
      );
    case 'address':
      if (parseFixedAddress(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not an IPv4 address`);
    case 'command':
      if (parseReadinessCommand(value) !== undefined) return;
      throw refusal(`label ${key}: must be a command of at most 4096 characters`);
    case 'http':
      if (parseHttpTarget(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a port and path such as :8080/ready`);
    case 'services':
      if (serviceNames(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a list of services such as db,cache`);
    case 'setting':
      if (readContainerSetting(rule.setting, value) !== undefined) return;
      throw refusal(`label ${key}: must be ${rule.setting.form.replaceAll('`', '')}, not ${value}`);
    case 'settings':
      if (parseAllowedSettings(value) !== undefined) return;
      throw refusal(
        `label ${key}: must be all or names such as ${CONTAINER_SETTINGS.map(({ name }) => name).join(',')}`,
      );
    case 'scope':
      if (parseScope(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is neither an address of a host nor an interface name`);
    case 'networks':
      if (parseNetworks(value) !== undefined) return;
      throw refusal(`label ${key}: ${value} is not a list of networks such as 192.0.2.0/24`);
  }
}

/** The names in a value of {@link DEPENDS_ON_LABEL}; undefined if it is none. */
export function serviceNames(value: string): readonly string[] | undefined {
  const names = value.split(',').map((name) => name.trim());
  if (names.length > SERVICE_NAMES_MAX) return undefined;
  return names.every((name) => SERVICE_NAME.test(name)) ? names : undefined;
}

function checkCron(key: string, value: string): void {
  try {
    parseCron(value);
  } catch (error) {
    throw refusal(`label ${key}: ${SkepError.from(error).message}`);
  }
}

function checkDuration(
  key: string,
  rule: Extract<LabelValue, { type: 'duration' }>,
  value: string,
): void {
  const valueMs = parseDurationMs(value);
  if (valueMs === undefined) throw refusal(`label ${key}: ${value} is not a duration such as 60s`);
  if (valueMs < rule.minMs || valueMs > rule.maxMs) {
    throw refusal(`label ${key}: must be ${rule.minMs} to ${rule.maxMs} ms, not ${value}`);
  }
}

/**
 * Value of a duration key: the first of `places` that sets it (the nearest object first), else
 * its default. Values that do not parse, which only another software can have stored, count as
 * not set.
 */
export function durationLabelMs(
  key: string,
  ...places: readonly (Readonly<Record<string, string>> | undefined)[]
): number {
  for (const labels of places) {
    const valueMs = parseDurationMs(labels?.[key] ?? '');
    if (valueMs !== undefined) return valueMs;
  }
  return parseDurationMs(BY_KEY.get(key)?.defaultValue ?? '') ?? 0;
}

/**
 * Value of a choice key: the first of `places` that sets it to one of its choices (the nearest object
 * first), else its default.
 */
export function choiceLabel(
  key: string,
  ...places: readonly (Readonly<Record<string, string>> | undefined)[]
): string {
  const definition = BY_KEY.get(key);
  invariant(definition?.value.type === 'choice', `${key} is a choice`);
  const { choices } = definition.value;
  const values = places.flatMap((labels) => labels?.[key] ?? []);
  return values.find((value) => choices.includes(value)) ?? definition.defaultValue;
}

/** Value of a number key of one object, else its default; what is out of range counts as not set. */
export function numberLabel(
  key: string,
  labels: Readonly<Record<string, string>> | undefined,
): number {
  const definition = BY_KEY.get(key);
  invariant(definition?.value.type === 'number', `${key} is a number`);
  const value = inRange(labels?.[key] ?? '', definition.value);
  return value ?? Number(definition.defaultValue);
}

function inRange(
  text: string,
  rule: { readonly min: number; readonly max: number },
): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= rule.min && value <= rule.max ? value : undefined;
}

function refusal(text: string): SkepError {
  return new SkepError('invalid_argument', text);
}
