/**
 * `npm run test:record [FILE ...]`: records the scenarios anew, of all files or of some, and prints where Skep
 * differs for no known reason.
 */
import { type PlayedFile, playLive, recordingOf } from './live.js';
import { writeRecording } from './recording.js';
import { readScenarioFiles } from './scenario-file.js';
import { isKnownToDiffer, judge, rowsOfDifferences } from './verdict.js';

const rows = rowsOfDifferences();
let [count, known, wrong] = [0, 0, 0];

function record(played: PlayedFile): void {
  const recording = recordingOf(played);
  writeRecording(played.file, recording);
  for (const scenario of played.file.scenarios) {
    const ours = played.skep.get(scenario.title) ?? [];
    const found = judge(scenario, ours, recording.get(scenario.title), rows);
    count += 1;
    if (found.length > 0) {
      wrong += 1;
      console.log(`${played.file.name}: ${scenario.title}\n${found.join('\n')}\n`);
    } else if (isKnownToDiffer(scenario)) known += 1;
  }
}

const names = process.argv.slice(2);
await playLive(
  readScenarioFiles().filter(({ name }) => names.length === 0 || names.includes(name)),
  record,
  (line) => console.log(line),
);
console.log(
  `${count} scenarios: ${count - known - wrong} equal, ${known} differ as docs/differences.md says, ${wrong} otherwise`,
);
process.exitCode = wrong === 0 ? 0 : 1;
