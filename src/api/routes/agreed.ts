/**
 * Which answers must be what the managers agreed upon: those about the swarm's objects wait until
 * this manager has everything that was acknowledged anywhere, through an election if need be.
 */
import { controlError } from '../http/api-error.js';
import type { Route } from '../http/router.js';
import type { SwarmMembership } from '../types.js';

/** Nothing but the swarm's objects: without a leader there is no answer. */
const SWARM_ONLY =
  /^\/(nodes|services|tasks|secrets|configs)(\/|$)|^\/swarm(\/(update|unlockkey))?$/;
/** Objects of the engine too, which must not be out of reach because managers are. */
const SHARED = /^\/networks(\/|$)/;

/** How long the engine's own objects wait for the managers. */
const SHARED_WAIT_MS = 1_000;

/** The route as it is, or with the wait in front. */
export function agreedRoute(route: Route, membership: SwarmMembership): Route {
  const isShared = SHARED.test(route.pattern);
  if (!isShared && !SWARM_ONLY.test(route.pattern)) return route;
  return {
    ...route,
    handler: async (request) => {
      // On other hosts the handler itself says why there is no answer.
      if (membership.status().controlAvailable) {
        const { agreed } = membership.manager();
        if (isShared) await agreed(SHARED_WAIT_MS).catch(() => undefined);
        else await agreedOrError(agreed);
      }
      return route.handler(request);
    },
  };
}

async function agreedOrError(agreed: () => Promise<void>): Promise<void> {
  try {
    await agreed();
  } catch (error) {
    throw controlError(error);
  }
}
