/** `skep import` from the swarm of a stock engine into a manager of ours, and back. */
import t from 'tap';
import { canRunEngines } from '../api/support/private-engine.js';
import { startSides } from '../api/support/sides.js';
import { takeOver } from './support/take-over.js';

// Two engines are started; the machine may be busy with other things.
t.setTimeout(300_000);

void t.test('everything of a stock swarm', { skip: !(await canRunEngines()) }, async (t) => {
  const { stock, ours } = await startSides(t);
  await takeOver(t, stock, ours);
});
