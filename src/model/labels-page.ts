/**
 * Prints docs/labels.md from the table of labels, with the rules that do not fit a row.
 */
import { type LabelValue } from './labels/definition.js';
import { LABELS } from './labels/table.js';

function valueText(value: LabelValue): string {
  switch (value.type) {
    case 'text':
      return 'text';
    case 'duration':
      return `duration, ${value.minMs} to ${value.maxMs} ms`;
    case 'number':
      return `number, ${value.min} to ${value.max}`;
    case 'cron':
      return 'schedule in five fields';
    case 'ranges':
      return 'IPv4 addresses, ranges and prefixes, separated by commas';
    case 'address':
      return 'IPv4 address';
    case 'command':
      return 'command for a shell';
    case 'http':
      return '`:PORT/PATH`';
    case 'services':
      return 'names of services, separated by commas';
    case 'setting':
      return value.setting.form;
    case 'settings':
      return 'names of settings, separated by commas, or `all`';
    case 'scope':
      return 'address, interface name or `lo`';
    case 'choice':
      return value.choices.map((choice) => `\`${choice}\``).join(', ');
    case 'networks':
      return 'networks, separated by commas';
  }
}

/** The rule behind the labels of fixed addresses. */
const FIXED_ADDRESSES_RULE: readonly string[] = [
  '## Fixed addresses',
  '',
  'A network made with `--subnet 10.0.9.0/24 --label skep.reserved=10.0.9.192/26` keeps these addresses for services that name them; no other service, task, node',
  'or container (`docker run --ip`) gets one. It cannot be changed later. `<network>` is a network\u2019s name or id, in a stack also its name in the file.',
  '',
  '- A label is refused when the address is not reserved there, is that of the gateway, or is named by another service or twice;',
  '  when the service is not on the network; `skep.vip` with `--endpoint-mode dnsrr`.',
  '- `skep.addresses` is for replicated services, and names at least as many addresses as there are replicas and slots in use (scaling down',
  '  may leave any slots, not only the first). Two tasks in one slot cannot have one address: `start-first` is refused beside it, for updates and rollbacks. In an',
  '  update the new task is therefore placed, and its image pulled, once the old one is over. An address that a task of another slot has now is refused.',
  '- Addresses stay the same over updates, restarts, moves and changes of leader. What was named and is still in use, by a task that is stopping,',
  '  is waited for; `docker service ps` says so.',
  '- A node that is down keeps the reserved addresses of its tasks for twice `skep.fence_after` (60 s; at least 15 s more than it), by when it has taken itself off the networks; then',
  '  their successors get them and start. A node that comes back after that has its old task stopped. Stock engines do not take themselves off.',
  '- A changed `skep.vip` is the virtual address at once, for running tasks too; tasks on stock engines are replaced for it, within the update config. Containers on stock',
  '  engines go on being told the old one: where there are such nodes, scale the service to 0 before the change. Without the label the service gets an address that is not reserved.',
  '',
];

/** The rule behind the `skep.container` labels. */
const CONTAINER_RULE: readonly string[] = [
  '## Container settings',
  '',
  'What `docker run` can ask of an engine and a service spec has no field for. The labels are named after the flags, may be given with `--container-label` or `--label`',
  '(the former go before the latter; in a stack under `labels` or `deploy.labels`), and set the same fields of the container (`docker inspect`, `HostConfig`).',
  '',
  '- No service may have one until the cluster says so: `skep cluster set skep.container.allow privileged,devices` (an empty value takes it back). Whoever may use a swarm may',
  '  else be root on all its nodes. `docker service create` and `update` are refused with 403 and the name of the label.',
  '- An update is asked only about settings that it adds or changes (a rollback too), so that a service whose setting is no longer allowed can still be scaled down or freed of it.',
  '- Running tasks are left alone when the list becomes shorter. A new task of such a service, also one in the place of a task that ended, gets no node: it stays `pending`, and',
  '  `docker service ps` says which label is not allowed. It goes on when the label is allowed again.',
  '- A change of a setting, on the service or the container, replaces the tasks within the update config; a rollback brings back the former ones.',
  '- Their tasks run on nodes with skepd only (`skep.container labels need skepd on N nodes`): a stock engine makes the container from the spec alone, without them.',
  '- A value that the engine refuses (a device that is not there, an unknown runtime) rejects or fails the task with the engine\u2019s own message.',
  '- `skep.container.engine_socket` is no such setting, and needs no permission: binds of the socket are part of the spec anyway.',
  '',
];

/** The rule behind the `skep.readiness` labels. */
const READINESS_RULE: readonly string[] = [
  '## Readiness',
  '',
  'A service with one of `skep.readiness.cmd`, `.http` and `.tcp` (all that are set must succeed) has its tasks looked at by the',
  'skepd of their node. A task that is not ready has no traffic, and is otherwise left alone:',
  '',
  '- A new task stays `starting` until its first success (after it is healthy, if it has a health check): looks are a second apart',
  '  until then, or `interval` if that is shorter. So rolling updates, `start-first` and `docker service create` wait for readiness as',
  '  they do for health. Only with `start-period` set failures count before the first success: once that period is over,',
  '  `retries` of them in a row fail the task.',
  '- A running task is taken out of traffic after `retries` failures in a row, and is back with the first success. Out of traffic: it is in no load balancer',
  '  and no virtual address on any node, `tasks.NAME` and its own names do not give it; connections that it has go on, those that it opens too. It',
  '  stays `running` for `docker service ps`, updates and `docker inspect`, and is never restarted for it.',
  '- While no task of a service is ready its published ports and virtual address refuse connections at once, and its name is not known, as while none runs.',
  '- `skep net services` on its node names the tasks that are out of traffic and why; skepd logs each change. Commands are seen in `docker events` of',
  '  the engine as those of health checks are (`exec_create`, `exec_start`, `exec_die`).',
  '- A restart of skepd keeps the verdict until the next look. An engine that does not answer changes nothing. Changed labels act on',
  '  running tasks, and a task whose labels go is ready. Stock engines do not look: there tasks have traffic while they run.',
  '- HTTP and TCP probes go to the task\u2019s first swarm address, or to 127.0.0.1 if it is on no swarm network. They need nothing in the image; redirections are not followed.',
  '',
];

/** The text of docs/labels.md. */
export function labelsPage(): string {
  const rows = LABELS.map((row) => {
    const cells = [
      `\`${row.key}\``,
      row.objects.join(', '),
      valueText(row.value),
      row.defaultValue === '' ? '' : `\`${row.defaultValue}\``,
      row.live ? 'yes' : 'no',
      row.meaning,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [
    '# Labels and cluster settings',
    '',
    'What Swarm has no field for, Skep keeps in labels whose keys start with `skep.`. Any other key',
    'with that prefix is refused. Labels of the cluster are set with `skep cluster set KEY VALUE`;',
    'those of an engine and of its networks are set by skepd itself. *Live* settings act without',
    'new tasks. This page is printed from `src/model/labels-page.ts`.',
    '',
    '| key | set on | value | default | live | meaning |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    ...FIXED_ADDRESSES_RULE,
    ...READINESS_RULE,
    ...CONTAINER_RULE,
  ].join('\n');
}
