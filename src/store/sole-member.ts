/**
 * Makes the state of one manager the whole of a cluster: a new log that begins with a snapshot of
 * all this manager knows, under a new raft id, with itself as the only voter. For
 * `docker swarm init --force-new-cluster` and for backups. What its log holds is taken as agreed
 * upon, also beyond the last commit it heard of: it may have been acknowledged to a client.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Environment } from '../model/environment.js';
import { SkepError } from '../model/errors.js';
import type { NodeId } from '../raft/types.js';
import { decodeSnapshotContent, encodeSnapshotContent } from './members.js';
import { MemoryStore } from './memory-store.js';
import { LocalProposer } from './proposer.js';
import { newRaftId } from './raft-id.js';
import { encodeSnapshot } from './store-snapshot.js';
import type { WriteTransaction } from './types.js';
import { syncDirectory } from './wal/files.js';
import { createStorage, openStorage, type StorageOptions } from './wal/raft-storage.js';

/** The manager that is to be alone. */
export interface SoleMember {
  readonly environment: Environment;
  readonly nodeId: string;
  /** `host:port` */
  readonly address: string;
  /** Brings the objects in line, in one transaction; it is told the new raft id. */
  readonly change: (write: WriteTransaction, raftId: NodeId) => void;
}

/** Where a manager's state stands. */
export interface KnownState {
  /** The store as bytes of a snapshot. */
  readonly store: Uint8Array;
  readonly index: number;
  readonly term: number;
}

/** Creates the storage of a one-member cluster with this state; `directory` must not exist. */
export async function createSoleMember(
  options: StorageOptions,
  state: KnownState,
  member: SoleMember,
): Promise<void> {
  const { environment, nodeId, address } = member;
  const raftId = newRaftId(environment);
  const proposer = new LocalProposer(BigInt(state.index) + 1n);
  const store = new MemoryStore({ environment, proposer });
  proposer.attach(store);
  store.restore(state.store, BigInt(state.index));
  await store.update((write) => member.change(write, raftId));
  const data = encodeSnapshotContent({
    members: [{ raftId, nodeId, address }],
    store: await encodeSnapshot(store.capture()),
  });
  const conf = { voters: [raftId], learners: [] };
  const position = { index: Number(store.version()), term: state.term };
  await createStorage(options, raftId, { ...position, conf, data });
}

/**
 * Replaces the storage of a manager that does not run by that of a one-member cluster with the same
 * state. A crash leaves the old or the new one.
 * @throws SkepError as `openStorage`
 */
export async function forceSoleMember(options: StorageOptions, member: SoleMember): Promise<void> {
  const { directory } = options;
  settleReplacement(directory);
  const state = await readState(options, member.environment);
  await createSoleMember({ ...options, directory: replacementOf(directory) }, state, member);
  renameSync(directory, replacedBy(directory));
  settleReplacement(directory);
}

/** Finishes or drops a replacement that a crash interrupted. To be called before storage is opened. */
export function settleReplacement(directory: string): void {
  const replacement = replacementOf(directory);
  if (existsSync(replacement)) {
    if (existsSync(directory)) rmSync(replacement, { recursive: true, force: true });
    else renameSync(replacement, directory);
    syncDirectory(dirname(directory));
  }
  rmSync(replacedBy(directory), { recursive: true, force: true });
}

function replacementOf(directory: string): string {
  return `${directory}.sole`;
}

function replacedBy(directory: string): string {
  return `${directory}.replaced`;
}

async function readState(options: StorageOptions, environment: Environment): Promise<KnownState> {
  let failure: SkepError | undefined;
  const storage = await openStorage(options, (error) => {
    failure = error;
  });
  const { stored, snapshotData } = storage;
  await storage.close();
  if (failure !== undefined) throw SkepError.from(failure);
  const store = new MemoryStore({ environment, proposer: new LocalProposer() });
  if (snapshotData !== undefined) {
    store.restore(decodeSnapshotContent(snapshotData).store, BigInt(stored.snapshot.index));
  }
  for (const { index, kind, data } of stored.entries) {
    store.applyEntry(BigInt(index), kind === 'confChange' ? new Uint8Array(0) : data);
  }
  const last = stored.entries.at(-1) ?? stored.snapshot;
  const term = Math.max(stored.hardState.term, last.term);
  return { store: await encodeSnapshot(store.capture()), index: last.index, term };
}
