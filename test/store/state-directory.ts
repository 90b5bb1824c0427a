/** A temporary state directory and what the store's tests open in it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { bootstrapRaft, openRaft } from '../../src/store/raft-cluster.js';
import type { RaftNode, RaftNodeOptions } from '../../src/store/raft-node.js';
import type { DataKey } from '../../src/store/wal/record.js';
import type { StorageOptions } from '../../src/store/wal/raft-storage.js';

/** The key of every test. */
export const TEST_KEYS: readonly DataKey[] = [{ keyId: 1, key: new Uint8Array(32).fill(5) }];

/** A directory that is gone after the test; `raft` below it does not exist yet. */
export function stateDirectory(t: Pick<Test, 'teardown'>): string {
  const directory = mkdtempSync(join(tmpdir(), 'skep-store-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'raft');
}

/** Creates a one-voter cluster there. */
export async function bootstrap(
  directory: string,
  options: Partial<StorageOptions> = {},
): Promise<number> {
  return bootstrapRaft({
    directory,
    keys: TEST_KEYS,
    ...options,
    environment: systemEnvironment,
    nodeId: 'node1',
    address: '127.0.0.1:2377',
  });
}

/** Opens it and waits until it leads. */
export async function openLeader(
  directory: string,
  options: Partial<RaftNodeOptions & StorageOptions> = {},
): Promise<RaftNode> {
  const node = await openRaft({
    directory,
    keys: TEST_KEYS,
    environment: systemEnvironment,
    logger: silentLogger,
    freezeObjects: true,
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
  await leading(node);
  return node;
}

/** Resolves when the node leads. */
export async function leading(node: RaftNode): Promise<void> {
  await new Promise<void>((resolve) => {
    let unsubscribe: (() => void) | undefined;
    unsubscribe = node.onLeadership((isLeader) => {
      if (!isLeader) return;
      resolve();
      queueMicrotask(() => unsubscribe?.());
    });
  });
}
