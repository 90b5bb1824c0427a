/** `/tasks` and below, except logs. */
import type { Control } from '../../manager/control/types.js';
import { isTaskDirty } from '../../manager/orchestrator/task.js';
import type { Task } from '../../model/gen/docker/swarmkit/v1/objects_pb.js';
import { TaskState } from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { taskName } from '../../model/naming.js';
import { enumText, enumValue } from '../convert/common.js';
import { TaskTexts } from '../convert/task-texts.js';
import { Filters } from '../filters.js';
import { ApiError } from '../http/api-error.js';
import { type ApiRequest, json, type Reply } from '../http/request.js';
import type { Route } from '../http/router.js';
import { control, findNode, findService, findTask, type RouteContext } from './context.js';

/** `_up-to-date` is what the CLI's progress display asks with. */
const FILTER_KEYS = [
  'name',
  'id',
  'label',
  'service',
  'node',
  'desired-state',
  '_up-to-date',
  'runtime',
];

/** The routes. */
export function taskRoutes(context: RouteContext): readonly Route[] {
  const texts = new TaskTexts();
  return [
    { method: 'GET', pattern: '/tasks', handler: (request) => list(context, texts, request) },
    {
      method: 'GET',
      pattern: '/tasks/:id',
      handler: (request) => json(texts.of(findTask(control(context), request.param('id')))),
    },
  ];
}

function list(context: RouteContext, texts: TaskTexts, request: ApiRequest): Reply {
  const filters = Filters.parse(request.query.get('filters'));
  const manager = control(context);
  filters.checkKeys(FILTER_KEYS);
  for (const state of filters.get('desired-state')) {
    if (state !== '' && enumValue(TaskState, state) === undefined) {
      throw new ApiError(500, `Invalid desired-state filter: '${state}'`);
    }
  }
  const serviceIds = new Set(filters.get('service').map((name) => findService(manager, name).id));
  const nodeIds = new Set(filters.get('node').map((name) => findNode(manager, name).id));
  const desired = new Set(filters.get('desired-state').map((state) => state.toLowerCase()));
  desired.delete('');
  const runtimes = filters.has('runtime') ? filters.get('runtime') : ['container', ''];
  const upToDate = filters.has('_up-to-date');
  const tasks = manager
    .listTasks()
    .filter(
      (task) =>
        (serviceIds.size === 0 || serviceIds.has(task.serviceId)) &&
        (nodeIds.size === 0 || nodeIds.has(task.nodeId)) &&
        (desired.size === 0 || desired.has(enumText(TaskState, task.desiredState))) &&
        runtimes.includes(runtimeOf(task)) &&
        filters.prefix('id', task.id) &&
        filters.prefix('name', taskName(task)) &&
        filters.labels('label', task.serviceAnnotations?.labels ?? {}),
    );
  const shown = upToDate ? withoutDirty(manager, tasks) : tasks;
  return json(shown.map((task) => texts.of(task)));
}

function runtimeOf(task: Task): string {
  const runtime = task.spec?.runtime;
  return runtime?.case === 'generic' ? runtime.value.kind : (runtime?.case ?? '');
}

/** Tasks that run what their service now asks for, in the orchestrator's judgement. */
function withoutDirty(manager: Control, tasks: readonly Task[]): readonly Task[] {
  const services = new Map(manager.listServices().map((service) => [service.id, service]));
  const nodes = new Map(manager.listNodes().map((node) => [node.id, node]));
  return tasks.filter((task) => {
    const service = services.get(task.serviceId);
    return service !== undefined && !isTaskDirty(service, task, nodes.get(task.nodeId));
  });
}
