/**
 * What the testbed has started, on disk before it is started, so that `down` also cleans up after
 * a crash of `up`.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { testbedRoot } from './layout.js';

/** One host as started. */
export interface HostState {
  readonly number: number;
  /** Init of the host's PID namespace, once started. */
  readonly holderPid?: number;
  readonly holderStartTicks?: string;
  readonly skep: boolean;
  readonly liveRestore: boolean;
}

/** A process, told from a later one of its id by its start. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
}

/** The testbed as started. */
export interface TestbedState {
  readonly hosts: readonly HostState[];
  /** Who brings it up, or uses it and takes it down; undefined once it was left up on purpose. */
  readonly owner?: ProcessIdentity;
  /** net.ipv4.ip_forward of the initial namespace before `up`, where `up` changed it. */
  readonly ipForwardBefore?: string;
}

function stateFile(): string {
  return path.join(testbedRoot(), 'state.json');
}

/** The recorded state, or undefined when nothing is up. */
export function readState(): TestbedState | undefined {
  try {
    return JSON.parse(readFileSync(stateFile(), 'utf8')) as TestbedState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Replaces the recorded state in one step. */
export function writeState(state: TestbedState): void {
  mkdirSync(testbedRoot(), { recursive: true, mode: 0o755 });
  writeFileSync(`${stateFile()}.new`, JSON.stringify(state, undefined, 2), { mode: 0o600 });
  renameSync(`${stateFile()}.new`, stateFile());
}

/** Forgets the state: nothing is up any more. */
export function removeState(): void {
  rmSync(stateFile(), { force: true });
}
