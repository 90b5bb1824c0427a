/**
 * Skep does what a stock swarm was recorded to do: the scenarios of scenarios/ on two hosts with skepd,
 * held against recorded/ (docs/differential.md). Recorded anew by `npm run test:record`.
 */
import t from 'tap';
import { down, up } from '../testbed/testbed.js';
import { readRecording } from './recording.js';
import { readScenarioFiles } from './scenario-file.js';
import { Side } from './side.js';
import { judge, rowsOfDifferences } from './verdict.js';

const HOSTS = 2;

t.setTimeout(0);

void t.test('scenarios', async (t) => {
  t.teardown(down);
  const only = process.env['SKEP_SCENARIOS'];
  const files = readScenarioFiles().filter(({ name, isLong }) =>
    only === undefined ? !isLong : name === only,
  );
  const side = new Side(await up(HOSTS), 'skep');
  const rows = rowsOfDifferences();
  for (const file of files) {
    const outcomes = await side.run(file);
    const recording = readRecording(file);
    t.same(
      [...recording.keys()].filter(
        (title) => !file.scenarios.some((scenario) => scenario.title === title),
      ),
      [],
      `${file.name}: all that is recorded is played`,
    );
    for (const scenario of file.scenarios) {
      const ours = outcomes.get(scenario.title) ?? [];
      const wrong = judge(scenario, ours, recording.get(scenario.title), rows);
      t.equal(wrong.join('\n'), '', `${file.name}: ${scenario.title}`);
    }
  }
});
