/** The memory file system for secrets: found again by a later skepd, gone with the node, never another's. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import {
  ensureSecretsDirectory,
  isInMemory,
  removeSecretsDirectory,
} from '../../src/daemon/secrets-directory.js';

const root = mkdtempSync(path.join(tmpdir(), 'skep-secrets-'));
const directory = path.join(root, 'with a blank', 'secrets');

function mounts(): number {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(root)).length;
}

t.teardown(() => {
  while (mounts() > 0) execFileSync('umount', [directory]);
  rmSync(root, { recursive: true });
});

await t.test('goes when nothing is in it', async (t) => {
  await ensureSecretsDirectory(directory);
  await ensureSecretsDirectory(directory);
  t.equal(mounts(), 1, 'the one of before is found again');
  writeFileSync(path.join(directory, 'file'), 'secret');
  t.equal(await removeSecretsDirectory(directory), false, 'a file is in it');
  t.ok(await isInMemory(directory));
  rmSync(path.join(directory, 'file'));
  t.equal(await removeSecretsDirectory(directory), true);
  t.equal(mounts(), 0);
  t.notOk(existsSync(directory));
  t.equal(await removeSecretsDirectory(directory), true, 'and again');
});

await t.test('stays when somebody else has mounted it', async (t) => {
  mkdirSync(directory);
  execFileSync('mount', ['-t', 'tmpfs', 'of-the-operator', directory]);
  await ensureSecretsDirectory(directory);
  t.equal(await removeSecretsDirectory(directory), true);
  t.equal(mounts(), 1);
});
