/** Puts a swarm back as it was before a scenario. */
import { waitFor } from '../testbed/commands.js';
import { dockerRequest } from '../testbed/http.js';

const CLEAN_TIMEOUT_MS = 20_000;
const OWN_NETWORKS = new Set(['bridge', 'host', 'none', 'ingress', 'docker_gwbridge']);

interface Listed {
  readonly ID: string;
  readonly Id: string;
  readonly Name: string;
  readonly NodeID?: string;
  readonly JobIteration?: unknown;
  readonly Version: { readonly Index: number };
  readonly Spec: unknown;
}

/** Specs of the cluster and its nodes before all scenarios. */
export interface Remembered {
  readonly cluster: unknown;
  readonly nodes: ReadonlyMap<string, unknown>;
}

async function list(socket: string, path: string): Promise<readonly Listed[]> {
  const answer = await dockerRequest(socket, 'GET', `/v1.41/${path}`);
  if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.text}`);
  return answer.body as readonly Listed[];
}

/** What {@link cleanUp} goes back to. */
export async function remember(socket: string): Promise<Remembered> {
  const { body } = await dockerRequest(socket, 'GET', '/v1.41/swarm');
  const nodes = await list(socket, 'nodes');
  return {
    cluster: (body as Listed).Spec,
    nodes: new Map(nodes.map((node) => [node.ID, node.Spec])),
  };
}

/** Removes what a scenario made, and takes back what it set on the cluster and its nodes. */
export async function cleanUp(socket: string, before: Remembered): Promise<void> {
  const remove = async (path: string) => {
    const answer = await dockerRequest(socket, 'DELETE', `/v1.41/${path}`);
    if (answer.status >= 300 && answer.status !== 404) throw new Error(`${path}: ${answer.text}`);
  };
  const services = await list(socket, 'services');
  for (const { ID } of services) await remove(`services/${ID}`);
  if (services.length > 0) await withoutTasks(socket);
  for (const { ID } of await list(socket, 'secrets')) await remove(`secrets/${ID}`);
  for (const { ID } of await list(socket, 'configs')) await remove(`configs/${ID}`);
  for (const { Id, Name } of await list(socket, 'networks'))
    if (!OWN_NETWORKS.has(Name))
      await waitFor(`removal of network ${Name}`, CLEAN_TIMEOUT_MS, async () => {
        await remove(`networks/${Id}`);
        return true;
      });
  await restoreSpecs(socket, before);
}

/** Containers of removed tasks end after their service. A stock swarm leaves the tasks of jobs, and those that no node has. */
async function withoutTasks(socket: string): Promise<void> {
  await waitFor('the tasks to be gone', CLEAN_TIMEOUT_MS, async () =>
    (await list(socket, 'tasks')).every(
      (task) => task.NodeID === undefined || task.JobIteration !== undefined,
    )
      ? true
      : undefined,
  );
}

async function restoreSpecs(socket: string, before: Remembered): Promise<void> {
  const { body } = await dockerRequest(socket, 'GET', '/v1.41/swarm');
  const restore = async (path: string, object: Listed, spec: unknown) => {
    if (JSON.stringify(object.Spec) === JSON.stringify(spec)) return;
    const target = `/v1.41/${path}/update?version=${object.Version.Index}`;
    const answer = await dockerRequest(socket, 'POST', target, spec);
    if (answer.status !== 200) throw new Error(`${target}: ${answer.text}`);
  };
  await restore('swarm', body as Listed, before.cluster);
  for (const node of await list(socket, 'nodes'))
    if (before.nodes.has(node.ID))
      await restore(`nodes/${node.ID}`, node, before.nodes.get(node.ID));
}

/** Leaves the swarm, if it is in one. */
export async function leaveSwarm(socket: string): Promise<void> {
  const { body } = await dockerRequest(socket, 'GET', '/v1.41/info');
  const { Swarm } = body as { readonly Swarm: { readonly LocalNodeState: string } };
  if (Swarm.LocalNodeState === 'inactive') return;
  await dockerRequest(socket, 'POST', '/v1.41/swarm/leave?force=1');
  await waitFor('the swarm to be left', CLEAN_TIMEOUT_MS, async () => {
    const info = (await dockerRequest(socket, 'GET', '/v1.41/info')).body as {
      readonly Swarm: { readonly LocalNodeState: string };
    };
    return info.Swarm.LocalNodeState === 'inactive' ? true : undefined;
  });
}
