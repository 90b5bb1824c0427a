/** Labels about when tasks start, move, and how many there are. */
import {
  AUTOSCALE_COOLDOWN_LABEL,
  AUTOSCALE_CPU_LABEL,
  AUTOSCALE_DRY_RUN_LABEL,
  AUTOSCALE_MAX_LABEL,
  AUTOSCALE_MIN_LABEL,
  AUTOSCALE_WINDOW_LABEL,
} from '../autoscale-labels.js';
import { HOUR_MS } from '../duration.js';
import type { LabelDefinition } from './definition.js';
import { CRON_LABEL, DEPENDS_ON_LABEL, DRAIN_LABEL, REBALANCE_LABEL } from './keys.js';

/** Its rows of the table. */
export const ORCHESTRATION_LABELS: readonly LabelDefinition[] = [
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
];
