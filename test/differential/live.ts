/** Plays scenarios on a stock swarm and on Skep, side by side on engines of one kind. */
import { down, up } from '../testbed/testbed.js';
import type { RecordedStep, Recording } from './recording.js';
import type { ScenarioFile } from './scenario-file.js';
import { type Outcomes, Side } from './side.js';

const HOSTS_PER_SIDE = 2;

/** What both sides did in the scenarios of a file. */
export interface PlayedFile {
  readonly file: ScenarioFile;
  readonly stock: Outcomes;
  readonly skep: Outcomes;
}

/** Brings up the testbed for both, plays all, gives each file to `onFile` once it is played, and takes the testbed down. */
export async function playLive(
  files: readonly ScenarioFile[],
  onFile: (played: PlayedFile) => void,
  report?: (line: string) => void,
): Promise<void> {
  try {
    const hosts = await up(2 * HOSTS_PER_SIDE, { noSkep: ['h1', 'h2'] });
    const theirs = new Side(hosts.slice(0, HOSTS_PER_SIDE), 'stock', report);
    const ours = new Side(hosts.slice(HOSTS_PER_SIDE), 'skep', report);
    for (const file of files) {
      const [stock, skep] = await Promise.all([theirs.run(file), ours.run(file)]);
      onFile({ file, stock, skep });
    }
  } finally {
    await down();
  }
}

/** What the recording of a file says after a live run. */
export function recordingOf({ file, stock, skep }: PlayedFile): Recording {
  return new Map(
    file.scenarios.map(({ title, steps }) => [
      title,
      steps.map(
        (step, index): RecordedStep => ({
          text: step.text,
          stock: stock.get(title)?.[index] ?? [],
          ...(step.differs === undefined ? {} : { skep: skep.get(title)?.[index] ?? [] }),
        }),
      ),
    ]),
  );
}
