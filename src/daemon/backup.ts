/**
 * Backups of a manager, taken while it runs: one tar archive with what a manager's part of the state
 * directory holds, laid out as there: the record of its start, certificates with the node key, and a
 * raft log that begins with a snapshot of the store. The log is that of a one-member cluster under a
 * new raft id, so that a restored manager never meets the others under the id of one that went on.
 * The key file is as on disk: of a manager that locks, it needs the unlock key.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SkepError } from '../model/errors.js';
import type { NodeIdentity } from '../rpc/identity/node-identity.js';
import { createSoleMember, type KnownState } from '../store/sole-member.js';
import { onlyManager } from './force-new-cluster.js';
import type { NodeState } from './node-state.js';
import { statePaths } from './options.js';
import type { NodeContext } from './running-node.js';
import { dataKeys } from './store-runtime.js';

const TEMPORARY_PREFIX = 'backup-';
/** The log of a backup has next to nothing in it; the first full segment is of the usual size. */
const SEGMENT_BYTES = 64 * 1024;

/** Writes the archive to `target` and ends it. @throws SkepError */
export async function writeBackup(
  context: NodeContext,
  parts: {
    readonly recorded: NodeState;
    readonly identity: NodeIdentity;
    readonly state: KnownState;
  },
  target: Writable,
  signal: AbortSignal,
): Promise<void> {
  const { stateDir } = context.options;
  removeLeftovers(stateDir);
  const directory = mkdtempSync(path.join(stateDir, TEMPORARY_PREFIX));
  try {
    await layOut(context, parts, directory);
    await archive(directory, target, signal);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function layOut(
  { environment }: NodeContext,
  parts: { recorded: NodeState; identity: NodeIdentity; state: KnownState },
  directory: string,
): Promise<void> {
  const { recorded, identity, state } = parts;
  const { nodeId } = identity.facts();
  // In one turn: the key file must be the one whose key encrypts the log.
  const files = identity.files();
  const keys = dataKeys(identity);
  const certificates = path.join(directory, 'certificates');
  mkdirSync(certificates, { mode: 0o700 });
  for (const { name, text, mode } of files)
    writeFileSync(path.join(certificates, name), text, { mode });
  const paths = statePaths(directory);
  const record = path.join(directory, path.basename(paths.nodeState));
  writeFileSync(record, JSON.stringify(recorded), { mode: 0o600 });
  const address = recorded.AdvertiseAddr;
  await createSoleMember(
    {
      directory: path.join(directory, path.basename(paths.raft)),
      keys,
      segmentBytes: SEGMENT_BYTES,
    },
    state,
    {
      environment,
      nodeId,
      address,
      change: (write, raftId) => onlyManager(write, { nodeId, address, raftId: BigInt(raftId) }),
    },
  );
}

async function archive(directory: string, target: Writable, signal: AbortSignal): Promise<void> {
  const names = readdirSync(directory).sort();
  const tar = spawn('tar', ['-C', directory, '--owner=0', '--group=0', '-cf', '-', ...names], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(tar, 'close') as Promise<[number | null]>;
  try {
    await pipeline(tar.stdout, target, { signal });
  } catch (error) {
    tar.kill('SIGKILL');
    await ended.catch(() => undefined);
    throw new SkepError('unknown', 'the backup was not taken whole', { cause: error });
  }
  const [code] = await ended;
  if (code !== 0)
    throw new SkepError('unknown', `the backup was not taken whole: tar said ${code}`);
}

/** Of backups during which the process ended. */
function removeLeftovers(stateDir: string): void {
  for (const name of readdirSync(stateDir))
    if (name.startsWith(TEMPORARY_PREFIX))
      rmSync(path.join(stateDir, name), { recursive: true, force: true });
}
