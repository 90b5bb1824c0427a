/**
 * A process to be killed: opens the cluster in the directory given as argument and creates tasks,
 * printing the number of each as soon as it is acknowledged.
 */
import { writeSync } from 'node:fs';
import { task } from '../objects.js';
import { openLeader } from '../state-directory.js';

const [, , directory, first] = process.argv;
if (directory === undefined || first === undefined) throw new Error('directory and number needed');
const node = await openLeader(directory, { segmentBytes: 32 * 1024, snapshotIntervalEntries: 150 });
let next = Number(first);
writeSync(1, 'ready\n');
for (;;) {
  const group = Array.from({ length: 1 + (next % 5) }, () => next++);
  await Promise.all(
    group.map(async (number) => {
      await node.store.update((tx) => {
        tx.create(
          'task',
          task(`t${number}`, 's1', { spec: { logDriver: { name: 'x'.repeat(number % 700) } } }),
        );
      });
      writeSync(1, `${number}\n`);
    }),
  );
}
