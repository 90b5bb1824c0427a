/**
 * A testbed leaves alone what others have made under the names it uses.
 */
import t from 'tap';
import { must } from '../testbed/commands.js';
import { namespaceNames } from '../testbed/namespaces.js';
import { readState } from '../testbed/state.js';
import { up } from '../testbed/testbed.js';

void t.test('a namespace that somebody else has', async (t) => {
  await must('ip', ['netns', 'add', 'h2']);
  try {
    await t.rejects(up(3), { message: /network namespaces h2 exist already/ });
    t.ok((await namespaceNames()).includes('h2'), 'it is still there');
    t.equal(readState(), undefined, 'nothing was begun');
  } finally {
    await must('ip', ['netns', 'delete', 'h2']);
  }
});
