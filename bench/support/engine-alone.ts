/**
 * What engines need for containers without any swarm: made and started through the engine's API, a
 * few at once on each host. No swarm over these engines can be faster.
 */
import { dockerRequest } from '../../test/testbed/http.js';
import { type Host, mustDocker } from '../../test/testbed/testbed.js';

/** Containers made at once on one engine: more are not faster on two processors. */
const AT_ONCE = 4;

/** Where the containers are put, which is most of what starting one costs. */
export type EngineNetwork = 'none' | 'bridge';

async function must(host: Host, method: string, path: string, body?: unknown): Promise<unknown> {
  const answer = await dockerRequest(host.dockerSocket, method, `/v1.41${path}`, body);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`);
  return answer.body;
}

/** `count` containers on one engine; their ids. */
async function startOn(
  host: Host,
  image: string,
  count: number,
  network: string,
): Promise<readonly string[]> {
  const ids: string[] = [];
  let left = count;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const body = { Image: image, StopSignal: 'SIGKILL', HostConfig: { NetworkMode: network } };
      const made = (await must(host, 'POST', '/containers/create', body)) as { Id: string };
      ids.push(made.Id);
      await must(host, 'POST', `/containers/${made.Id}/start`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return ids;
}

/** Containers that run; `remove` takes them away again, and the network. */
export interface Started {
  remove(): Promise<void>;
}

/** Makes the network each engine needs. @returns its name */
export async function prepareNetwork(
  hosts: readonly Host[],
  network: EngineNetwork,
): Promise<string> {
  if (network === 'none') return 'none';
  for (const host of hosts) await mustDocker(host.dockerSocket, ['network', 'create', 'alone']);
  return 'alone';
}

/** `count` containers spread over the engines, all running when it resolves. */
export async function startAlone(
  hosts: readonly Host[],
  image: string,
  count: number,
  network: string,
): Promise<Started> {
  const share = Math.ceil(count / hosts.length);
  const started = await Promise.all(
    hosts.map(async (host) => ({ host, ids: await startOn(host, image, share, network) })),
  );
  return {
    remove: async () => {
      await Promise.all(
        started.map(async ({ host, ids }) => {
          await Promise.all(
            ids.map(async (id) => must(host, 'DELETE', `/containers/${id}?force=true`)),
          );
          if (network !== 'none') await must(host, 'DELETE', `/networks/${network}`);
        }),
      );
    },
  };
}
