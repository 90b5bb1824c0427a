/**
 * `skep backup` and `skep restore`: a manager's state into a file while it runs, and back into an
 * empty state directory while nothing runs there.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  createWriteStream,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import type http from 'node:http';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { readNodeState } from '../daemon/node-state.js';
import { statePaths } from '../daemon/options.js';
import { runningSkepd } from '../daemon/run.js';
import { SkepError } from '../model/errors.js';
import { NodeIdentity } from '../rpc/identity/node-identity.js';
import { syncDirectory } from '../store/wal/files.js';
import { openApi } from './docker-api.js';

/** What a backup holds, and nothing else: directories end in a slash. */
const PARTS =
  /^(docker-state\.json|certificates\/(swarm-(root-ca\.crt|node\.(crt|key)))?|raft\/((wal|snap)\/[0-9a-f]*(\.wal|\.snap)?)?)$/;
const ENTRIES_MAX = 1000;

/**
 * Takes a backup of the manager behind `socket` into a new file, mode 0600, durable at return.
 * @throws SkepError already_exists when the file is there; the API's refusal on other nodes
 */
export async function backup(socket: string, file: string): Promise<void> {
  const answer: http.IncomingMessage = await openApi(socket, '/skep/backup');
  const handle = await open(file, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    answer.destroy();
    throw new SkepError(
      error.code === 'EEXIST' ? 'already_exists' : 'unknown',
      error.code === 'EEXIST' ? `${file} exists: a backup never replaces a file` : error.message,
    );
  });
  await handle.close();
  try {
    await pipeline(answer, createWriteStream(file, { flags: 'r+', mode: 0o600 }));
    const written = await open(file, 'r+');
    await written.sync();
    await written.close();
    syncDirectory(path.dirname(path.resolve(file)));
  } catch (error) {
    rmSync(file, { force: true });
    throw new SkepError(
      'unknown',
      `the backup was not taken whole: ${SkepError.from(error).message}`,
    );
  }
}

/**
 * Puts a backup into a state directory that holds no swarm, and that no skepd uses; the next start
 * of skepd takes it up. Leaves nothing behind when it fails.
 * @throws SkepError failed_precondition | invalid_argument
 */
export async function restore(file: string, stateDir: string): Promise<void> {
  if (!existsSync(file)) throw new SkepError('not_found', `${file} does not exist`);
  const { swarm, lock } = statePaths(stateDir);
  const holder = runningSkepd(lock);
  if (holder !== undefined)
    throw new SkepError(
      'failed_precondition',
      `skepd (pid ${holder}) uses ${stateDir}: stop it first`,
    );
  if (existsSync(swarm) && readdirSync(swarm).length > 0)
    throw new SkepError(
      'failed_precondition',
      `${swarm} is not empty: a restore never replaces a swarm. Leave it (docker swarm leave --force) or give another --state-dir`,
    );
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const staging = mkdtempSync(path.join(stateDir, 'restore-'));
  try {
    await extract(file, staging);
    await check(file, staging);
    for (const name of readdirSync(staging, { recursive: true, encoding: 'utf8' }))
      await sync(path.join(staging, name));
    rmSync(swarm, { recursive: true, force: true });
    renameSync(staging, swarm);
    syncDirectory(stateDir);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

async function extract(file: string, directory: string): Promise<void> {
  const flags = ['--no-same-owner', '--no-same-permissions', '--no-overwrite-dir'];
  const tar = spawn('tar', ['-C', directory, '-xf', path.resolve(file), ...flags], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  const [code] = (await once(tar, 'close')) as [number | null];
  if (code !== 0) throw notABackup(file, 'it cannot be unpacked');
}

/** Looks whether all of it is there, and nothing else; the log is read by the next start. */
async function check(file: string, directory: string): Promise<void> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  if (names.length > ENTRIES_MAX) throw notABackup(file, 'it holds too much');
  for (const name of names) {
    const entry = lstatSync(path.join(directory, name));
    const shown = entry.isDirectory() ? `${name}/` : name;
    const isPart = PARTS.test(shown) && (entry.isDirectory() || entry.isFile());
    if (!isPart) throw notABackup(file, `${name} does not belong there`);
  }
  const isWhole =
    readNodeState(path.join(directory, 'docker-state.json')) !== undefined &&
    existsSync(path.join(directory, 'raft/wal'));
  if (!isWhole) throw notABackup(file, 'parts are missing');
  // Locked: what is inside is known to whoever has the unlock key.
  if (await NodeIdentity.isLocked(directory)) return;
  const identity = await NodeIdentity.load(directory);
  if (identity?.raftKeys() === undefined) throw notABackup(file, 'the key of the log is missing');
}

function notABackup(file: string, why: string): SkepError {
  return new SkepError('invalid_argument', `${file} is no backup of a manager: ${why}`);
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
