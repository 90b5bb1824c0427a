/** The whole route table: everything this room answers itself. The rest is the engine's. */
import type { Route } from '../http/router.js';
import { agreedRoute } from './agreed.js';
import { backupRoutes } from './backup.js';
import { containerRoutes } from './containers.js';
import type { RouteContext } from './context.js';
import { eventRoutes } from './events.js';
import { logRoutes } from './logs.js';
import { netRoutes } from './net.js';
import { networkRoutes } from './networks.js';
import { nodeRoutes } from './nodes.js';
import { configRoutes, secretRoutes } from './secrets.js';
import { serviceRoutes } from './services.js';
import { swarmRoutes } from './swarm.js';
import { systemRoutes } from './system.js';
import { taskRoutes } from './tasks.js';
import { volumeRoutes } from './volumes.js';

/** All routes. */
export function allRoutes(context: RouteContext): readonly Route[] {
  const routes = [
    ...systemRoutes(context),
    ...swarmRoutes(context),
    ...nodeRoutes(context),
    ...serviceRoutes(context),
    ...logRoutes(context),
    ...taskRoutes(context),
    ...volumeRoutes(context),
    ...secretRoutes(context),
    ...configRoutes(context),
    ...networkRoutes(context),
    ...containerRoutes(context),
    ...eventRoutes(context),
    ...netRoutes(context),
    ...backupRoutes(context),
  ];
  return routes.map((route) => agreedRoute(route, context.membership));
}
