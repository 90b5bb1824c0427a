/** Runs of ports: joined, cut at each other's edges, and joined again as rows. */
import { array, assert, constantFrom, integer, property, record } from 'fast-check';
import t from 'tap';
import type { PortProtocol } from '../../src/native/datapath-types.js';
import { countOf, cutRuns, joinRuns, type PortRun } from '../../src/network/port-ranges.js';

interface Owned extends PortRun {
  readonly owner: number;
}

const RUNS = array(
  record({
    protocol: constantFrom<PortProtocol>('tcp', 'udp'),
    publishedPort: integer({ min: 1, max: 60 }),
    targetPort: integer({ min: 100, max: 103 }),
    count: integer({ min: 1, max: 12 }),
    owner: integer({ min: 0, max: 2 }),
  }),
  { maxLength: 8 },
);

/** Every single port with where it leads and whose it is. */
function singles(runs: readonly Owned[]): readonly string[] {
  return runs
    .flatMap((run) =>
      Array.from({ length: countOf(run) }, (_, index) => {
        const { protocol, publishedPort, targetPort, owner } = run;
        return `${protocol} ${publishedPort + index}>${targetPort + index} ${owner}`;
      }),
    )
    .sort();
}

void t.test('ten thousand neighbours are one', async (t) => {
  const ports = Array.from({ length: 10_000 }, (_, index) => ({
    protocol: 'tcp' as const,
    publishedPort: 20_000 + index,
    targetPort: 30_000 + index,
  }));
  t.same(
    joinRuns(ports.toReversed(), () => true),
    [{ protocol: 'tcp', publishedPort: 20_000, targetPort: 30_000, count: 10_000 }],
  );
});

void t.test('joining and cutting change no port', async () => {
  assert(
    property(RUNS, (runs) => {
      return singles(cutRuns(runs, [])).join() === singles(runs).join();
    }),
  );
  assert(
    property(RUNS, (runs) => {
      const joined = joinRuns(runs, (a, b) => a.owner === b.owner);
      return singles(joined).join() === singles(runs).join() && joined.length <= runs.length;
    }),
  );
});

void t.test('after cutting, two runs have all ports in common or none', async () => {
  assert(
    property(RUNS, (runs) => {
      const cut = cutRuns(runs, []);
      return cut.every((a) =>
        cut.every((b) => {
          if (a.protocol !== b.protocol) return true;
          const apart =
            a.publishedPort + countOf(a) <= b.publishedPort ||
            b.publishedPort + countOf(b) <= a.publishedPort;
          return apart || (a.publishedPort === b.publishedPort && countOf(a) === countOf(b));
        }),
      );
    }),
  );
});
