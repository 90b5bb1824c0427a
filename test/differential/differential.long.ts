/**
 * Skep does what a stock swarm does beside it, and the recordings are what a stock swarm does today.
 */
import t from 'tap';
import { playLive, recordingOf } from './live.js';
import { readRecording } from './recording.js';
import { readScenarioFiles } from './scenario-file.js';
import { judge, rowsOfDifferences } from './verdict.js';

t.setTimeout(0);

void t.test('scenarios, live', async (t) => {
  const rows = rowsOfDifferences();
  await playLive(readScenarioFiles(), (played) => {
    const now = recordingOf(played);
    const { name, scenarios } = played.file;
    t.same(readRecording(played.file), now, `${name}: as recorded`);
    for (const scenario of scenarios) {
      const ours = played.skep.get(scenario.title) ?? [];
      const wrong = judge(scenario, ours, now.get(scenario.title), rows);
      t.equal(wrong.join('\n'), '', `${name}: ${scenario.title}`);
    }
  });
});
