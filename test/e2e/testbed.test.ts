/**
 * A testbed leaves alone what others have made under the names it uses, and removes what one of its own
 * kind left behind when it was killed.
 */
import { spawn } from 'node:child_process';
import t from 'tap';
import { must, waitFor } from '../testbed/commands.js';
import { namespaceNames, processStartTicks } from '../testbed/namespaces.js';
import { readState } from '../testbed/state.js';
import { down, up } from '../testbed/testbed.js';

const TESTBED_MODULE = new URL('../testbed/testbed.js', import.meta.url).href;

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

void t.test('a testbed whose owner was killed', async (t) => {
  const script = `import { up } from ${JSON.stringify(TESTBED_MODULE)}; await up(2, { noSkep: 'all' });`;
  const owner = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => owner.once('exit', () => resolve()));
  try {
    const holder = await waitFor('the first host', 30_000, async () => {
      const host = readState()?.hosts.find((entry) => entry.holderPid !== undefined);
      return host?.holderPid;
    });
    await t.rejects(up(1), { message: /already up/ }, 'not while its owner lives');
    owner.kill('SIGKILL');
    await ended;
    t.ok((await namespaceNames()).includes('h1'), 'it was left behind');
    const hosts = await up(1, { noSkep: 'all' });
    t.equal(hosts.length, 1);
    t.equal(processStartTicks(holder), undefined, 'the old host has ended');
    t.notOk((await namespaceNames()).includes('h2'), 'what the new one does not use is gone too');
  } finally {
    owner.kill('SIGKILL');
    await ended;
    await down();
  }
  t.notOk((await namespaceNames()).includes('h1'), 'nothing is left');
});
