/**
 * A program: runs seeds until one fails, and says which and why; exit status 3 then.
 *   node simulate.js FIRST LAST
 */
import { runSeed } from './simulation-run.js';

const FAILED = 3;
const [first = 1, last = 1] = process.argv.slice(2).map(Number);
for (let seed = first; seed <= last; seed++) {
  try {
    runSeed(seed, 'none');
  } catch (error) {
    console.log(`${seed} ${String(error).split('\n')[0]}`);
    process.exitCode = FAILED;
    break;
  }
}
