/**
 * What the kernel of each host holds about the swarm, in a form that is the same on every host, and
 * whether the hosts agree.
 */
import { dockerRequest } from '../../testbed/http.js';
import type { Host } from '../../testbed/testbed.js';

interface Service {
  readonly Kind: 'vip' | 'published' | 'landing';
  readonly Network?: number;
  readonly Address?: string;
  readonly Protocol?: string;
  readonly Port?: number;
  readonly Backends: readonly string[];
}

interface Tables {
  readonly Nodes: readonly { readonly IngressAddress: string; readonly Tunnel: string }[];
  readonly Endpoints: readonly { Network: number; Address: string; Tunnel?: string }[];
  readonly Backends: readonly { Network: number; Address: string; State: string }[];
}

async function ask<T>(host: Host, what: string): Promise<T> {
  const { status, body } = await dockerRequest(host.skepSocket, 'GET', `/skep/net/${what}`);
  if (status !== 200) throw new Error(`${host.name}: ${JSON.stringify(body)}`);
  return body as T;
}

/** Backends of the published port, as this host's kernel has them. @throws while its skepd is away */
export async function backendsOf(host: Host, port: number): Promise<readonly string[]> {
  const services = await ask<readonly Service[]>(host, 'services');
  const row = services.find(({ Kind, Port }) => Kind === 'published' && Port === port);
  return [...(row?.Backends ?? [])].sort();
}

/**
 * Lines that are equal on all hosts once they agree: nodes, addresses with the host they lead to,
 * backends with their state, services with their backends. All hosts must have a task on each network.
 */
export async function viewOf(host: Host): Promise<readonly string[]> {
  const { Nodes, Endpoints, Backends } = await ask<Tables>(host, 'tables');
  const services = await ask<readonly Service[]>(host, 'services');
  const lines = [
    // A node's address on the ingress network is a node row elsewhere and an address at home.
    ...Nodes.map(({ IngressAddress, Tunnel }) => `${IngressAddress} is at ${Tunnel}`),
    ...Endpoints.map((row) => `${row.Address} is at ${row.Tunnel ?? host.address}`),
    ...Backends.map((row) => `backend ${row.Network}/${row.Address} ${row.State}`),
    ...services
      .filter(({ Kind }) => Kind !== 'landing')
      .map((row) => {
        const listens = `${row.Network ?? row.Protocol}/${row.Address ?? ''}:${row.Port ?? ''}`;
        return `${row.Kind} ${listens} ${[...row.Backends].sort().join(' ')}`;
      }),
  ];
  return [...new Set(lines)].sort();
}

/** What the hosts' views differ in; empty when they agree. A host that does not answer is a difference. */
export async function differences(hosts: readonly Host[]): Promise<readonly string[]> {
  const views = await Promise.all(
    hosts.map(async (host) => viewOf(host).catch((error: unknown) => [String(error)])),
  );
  const all = new Set(views.flat());
  return [...all].flatMap((line) => {
    const lacking = hosts.filter((_, index) => !views[index]?.includes(line));
    return lacking.length === 0 ? [] : [`${lacking.map(({ name }) => name).join()} lacks: ${line}`];
  });
}
