/**
 * Runs of published ports: neighbours that lead to neighbours are one thing from the task to the data
 * path, so that ten thousand ports cost what one does. Pure.
 */
import type { PortProtocol, ServiceRow } from '../native/datapath-types.js';

/** Ports `publishedPort`... that lead to `targetPort`...; `count` of them, 1 if absent. */
export interface PortRun {
  readonly protocol: PortProtocol;
  readonly targetPort: number;
  readonly publishedPort: number;
  readonly count?: number;
}

/** Ports in a run. */
export function countOf(run: { readonly count?: number }): number {
  return run.count ?? 1;
}

/** Joins neighbouring ports that are alike by `alike`; the order of the result is by port. */
export function joinRuns<T extends PortRun>(
  ports: readonly T[],
  alike: (a: T, b: T) => boolean,
): readonly T[] {
  const sorted = [...ports].sort(
    (a, b) => a.protocol.localeCompare(b.protocol) || a.publishedPort - b.publishedPort,
  );
  const runs: T[] = [];
  for (const port of sorted) {
    const last = runs.at(-1);
    if (last !== undefined && follows(last, port) && alike(last, port)) {
      runs[runs.length - 1] = { ...last, count: countOf(last) + countOf(port) };
    } else {
      runs.push(port);
    }
  }
  return runs;
}

function follows(run: PortRun, next: PortRun): boolean {
  const count = countOf(run);
  return (
    run.protocol === next.protocol &&
    run.publishedPort + count === next.publishedPort &&
    run.targetPort + count === next.targetPort
  );
}

/**
 * Cuts runs where another one begins or ends, so that any two of the result have all their ports in
 * common or none. `more` are ports that have to stand alone.
 */
export function cutRuns<T extends PortRun>(
  runs: readonly T[],
  more: readonly PortRun[],
): readonly T[] {
  const edges = new Map<PortProtocol, Set<number>>();
  for (const { protocol, publishedPort, count = 1 } of [...runs, ...more]) {
    const of = edges.get(protocol) ?? new Set<number>();
    edges.set(protocol, of.add(publishedPort).add(publishedPort + count));
  }
  const sorted = new Map([...edges].map(([key, of]) => [key, [...of].sort((a, b) => a - b)]));
  return runs.flatMap((run) =>
    countOf(run) === 1 ? [run] : cut(run, sorted.get(run.protocol) ?? []),
  );
}

function cut<T extends PortRun>(run: T, edges: readonly number[]): readonly T[] {
  const end = run.publishedPort + countOf(run);
  const pieces: T[] = [];
  for (let index = firstAt(edges, run.publishedPort); (edges[index] ?? end) < end; index += 1) {
    const from = edges[index] ?? end;
    const offset = from - run.publishedPort;
    const count = (edges[index + 1] ?? end) - from;
    pieces.push({ ...run, publishedPort: from, targetPort: run.targetPort + offset, count });
  }
  return pieces;
}

/** Index of the first edge at or after `port`. */
function firstAt(edges: readonly number[], port: number): number {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((edges[middle] ?? 0) < port) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Joins rows of neighbouring published ports that differ in nothing else. */
export function joinRows(rows: readonly ServiceRow[]): readonly ServiceRow[] {
  const runs = rows.flatMap((row) => {
    const { key, targetPort = 0, ports: count = 1 } = row;
    if (key.kind !== 'published' || key.address !== undefined || row.addressed) return [];
    return [{ row, protocol: key.protocol, publishedPort: key.port, targetPort, count }];
  });
  const joined = joinRuns(runs, (a, b) => textOf(a.row) === textOf(b.row));
  const others = rows.filter(
    ({ key, addressed }) => key.kind !== 'published' || key.address !== undefined || addressed,
  );
  return [
    ...others,
    ...joined.map(({ row, count }) => (count === 1 ? row : { ...row, ports: count })),
  ];
}

function textOf({ backends, allow, policy, direct }: ServiceRow): string {
  const places = backends.map(({ vni, address }) => `${vni}/${address}`).sort();
  return `${places.join(' ')} ${allow?.join(' ') ?? '*'} ${policy ?? ''} ${direct ?? false}`;
}
