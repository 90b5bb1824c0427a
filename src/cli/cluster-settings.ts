/**
 * `skep cluster get` and `set`: settings kept as labels of the cluster object, read and written
 * through the Docker API, so that they follow the same checks as everything else.
 */
import { SkepError } from '../model/errors.js';
import { callApi } from './docker-api.js';

const UPDATE_ATTEMPTS = 3;

interface SwarmObject {
  readonly Version: { readonly Index: number };
  readonly Spec: { Labels?: Record<string, string> | null } & Record<string, unknown>;
}

async function readSwarm(socket: string): Promise<SwarmObject> {
  return (await callApi(socket, 'GET', '/swarm')) as SwarmObject;
}

/** Lines `key=value` of what is set; of one key its bare value. @throws SkepError not_found */
export async function getClusterSettings(
  socket: string,
  key: string | undefined,
): Promise<readonly string[]> {
  const labels = (await readSwarm(socket)).Spec.Labels ?? {};
  if (key === undefined)
    return Object.entries(labels)
      .filter(([name]) => name.startsWith('skep.'))
      .map(([name, value]) => `${name}=${value}`)
      .sort();
  const value = labels[key];
  if (value === undefined) throw new SkepError('not_found', `${key} is not set`);
  return [value];
}

/** Sets one setting; an empty value removes it. skepd refuses unknown keys and bad values. */
export async function setClusterSetting(socket: string, key: string, value: string): Promise<void> {
  if (!key.startsWith('skep.'))
    throw new SkepError('invalid_argument', `${key}: settings of the cluster start with skep.`);
  for (let attempt = 1; ; attempt++) {
    const swarm = await readSwarm(socket);
    const labels = { ...swarm.Spec.Labels };
    if (value === '') delete labels[key];
    else labels[key] = value;
    const path = `/swarm/update?version=${swarm.Version.Index}`;
    try {
      await callApi(socket, 'POST', path, { ...swarm.Spec, Labels: labels });
      return;
    } catch (error) {
      // Somebody else changed the cluster between our read and our write.
      const stale = SkepError.from(error).message.includes('update out of sequence');
      if (!stale || attempt === UPDATE_ATTEMPTS) throw error;
    }
  }
}
