/** A manager killed at any moment comes back with everything it acknowledged. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { SeededRandom } from '../../support/simulated-environment.js';
import { bootstrap, openLeader, stateDirectory } from '../state-directory.js';

const ROUNDS = 4;

/** Runs a writer until it has acknowledged `count` writes and kills it; returns the acknowledged. */
async function writeUntilKilled(
  t: Test,
  directory: string,
  first: number,
  count: number,
): Promise<number[]> {
  const program = fileURLToPath(new URL('./writer-process.js', import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [program, directory, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  if (child.stdout === null) throw new Error('the writer has no output');
  const acknowledged: number[] = [];
  const exited = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== 'ready') acknowledged.push(Number(line));
    if (acknowledged.length === count) child.kill('SIGKILL');
  }
  const [, signal] = (await exited) as [number | null, string | null];
  t.equal(signal, 'SIGKILL');
  return acknowledged;
}

void t.test('kill -9 during writes loses nothing acknowledged', async (t) => {
  const directory = stateDirectory(t);
  const options = { segmentBytes: 32 * 1024 };
  await bootstrap(directory, options);
  const random = new SeededRandom(20260103);
  const acknowledged = new Set<number>();
  let first = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const written = await writeUntilKilled(t, directory, first, random.integer(1, 150));
    for (const number of written) acknowledged.add(number);
    // Numbers begun and not acknowledged may be there: the next round stays clear of them.
    first += 1000;
    const node = await openLeader(directory, options);
    const present = new Set(
      node.store.view((tx) => tx.find('task', { by: 'all' })).map((one) => Number(one.id.slice(1))),
    );
    const lost = [...acknowledged].filter((number) => !present.has(number));
    t.same(lost, [], `round ${round}: ${acknowledged.size} acknowledged, ${present.size} there`);
    t.ok(present.size <= acknowledged.size + 5 * (round + 1), 'nothing was made up');
    await node.close();
  }
});
