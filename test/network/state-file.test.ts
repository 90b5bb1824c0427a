/**
 * The state document on a real disk: joined writes, damage, permissions.
 */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { StateFile } from '../../src/network/state-file.js';

void t.test('state file', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'skep-state-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const name = path.join(directory, 'deep', 'state.json');
  let content = { count: 0 };
  let asked = 0;
  const file = new StateFile(name, () => {
    asked += 1;
    return content;
  });
  t.equal(await file.load(), undefined, 'nothing there yet');

  const saves: Promise<void>[] = [];
  for (let count = 1; count <= 50; count += 1) {
    content = { count };
    saves.push(file.save());
  }
  await Promise.all(saves);
  t.same(await file.load(), { count: 50 });
  t.ok(asked <= 3, `50 saves made ${asked} writes`);
  t.same(await readdir(path.dirname(name)), ['state.json'], 'no leftovers');
  t.equal((await stat(name)).mode & 0o777, 0o600);

  await writeFile(`${name}.new`, '{"half":');
  t.same(await file.load(), { count: 50 }, 'a write cut short does not count');
  await writeFile(name, '{"half":');
  await t.rejects(file.load(), { code: 'data_loss' });
  content = { count: 51 };
  await file.save();
  t.equal(await readFile(name, 'utf8'), '{"count":51}');
  await file.remove();
  await file.remove();
  t.equal(await file.load(), undefined);
});
