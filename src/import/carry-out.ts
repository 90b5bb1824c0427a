/** Makes the changes of a plan through skepd's API, one after the other. */
import { networkSpecFields } from '../api/convert/network.js';
import { nodeSpecFields } from '../api/convert/node.js';
import { clusterSpecFields } from '../api/convert/cluster.js';
import { base64 } from '../api/convert/common.js';
import { configSpecFields, secretSpecFields } from '../api/convert/secret.js';
import { serviceSpecFields } from '../api/convert/service.js';
import type { JsonValue } from '../api/http/go-json.js';
import { type JsonOut, unlessZero } from '../api/http/json-text.js';
import { SkepError, unreachable } from '../model/errors.js';
import { nameOf, printable } from './describe.js';
import type { Change, Step } from './plan.js';
import { dictionaryOf, translate } from './references.js';
import type { SwarmView } from './swarm-view.js';

/** Posts to a Docker API; the parsed body. @throws SkepError with the API's message */
export type Post = (path: string, body: JsonOut) => Promise<JsonValue>;

/**
 * Carries a plan out and tells of each change as it is made. Made in the plan's order, since services
 * refer to all the rest.
 * @throws SkepError that says how far it came; the same import may then be run again
 */
export async function carryOut(
  steps: readonly Step[],
  here: SwarmView,
  post: Post,
  tell: (line: string) => void,
): Promise<void> {
  const ids = dictionaryOf(here, 'ids');
  const made = {
    network: new Map(ids.network),
    secret: new Map(ids.secret),
    config: new Map(ids.config),
  };
  const changes = steps.filter(({ outcome }) => outcome.kind === 'change');
  let done = 0;
  for (const step of changes) {
    if (step.outcome.kind !== 'change') continue;
    const { change } = step.outcome;
    try {
      const answer = await post(...requestOf(change, made));
      if (change.kind === 'network' || change.kind === 'secret' || change.kind === 'config')
        made[change.kind].set(step.name, idOf(answer));
    } catch (error) {
      const { code, message } = SkepError.from(error);
      throw new SkepError(
        code,
        `${nameOf(step)}: ${printable(message)}\n${done} of ${changes.length} changes are made, ` +
          'and stay; the same command goes on from there',
      );
    }
    done += 1;
    tell(`${step.kind === 'swarm' || step.kind === 'node' ? 'changed' : 'made'} ${nameOf(step)}`);
  }
}

function requestOf(
  change: Change,
  ids: Parameters<typeof translate>[2],
): readonly [string, JsonOut] {
  switch (change.kind) {
    case 'swarm':
      return [`/swarm/update?version=${change.version}`, clusterSpecFields(change.spec)];
    case 'network':
      return ['/networks/create', networkSpecFields(change.spec)];
    case 'config':
      return ['/configs/create', configSpecFields(change.spec)];
    case 'secret': {
      const data = unlessZero(base64(change.spec.data));
      return ['/secrets/create', { ...secretSpecFields(change.spec), Data: data }];
    }
    case 'node':
      return [`/nodes/${change.id}/update?version=${change.version}`, nodeSpecFields(change.spec)];
    case 'service': {
      const { spec } = translate(change.spec, 'ids', ids);
      return ['/services/create', serviceSpecFields(spec)];
    }
    default:
      return unreachable(change);
  }
}

/** Networks have an `Id`, all else an `ID`. */
function idOf(answer: JsonValue): string {
  const id = answer instanceof Map ? (answer.get('ID') ?? answer.get('Id')) : undefined;
  if (typeof id !== 'string') throw new SkepError('unknown', 'skepd did not say its id');
  return id;
}
