/**
 * How this node was started into its swarm, on disk beside the certificates, in the shape of
 * Docker's docker-state.json: enough to start again after a crash.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { SkepError } from '../model/errors.js';

/** The recorded start of a node. */
export interface NodeState {
  /** Own address as managers see it. */
  readonly LocalAddr: string;
  /** `host:port` of the manager joined through; empty on the first manager. */
  readonly RemoteAddr: string;
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
  readonly DataPathPort: number;
  readonly DefaultAddressPool: readonly string[];
  readonly SubnetSize: number;
  /** What the user wrote for the addresses; states of before lack it. */
  readonly Requested?: RequestedAddresses;
}

/** Each an address, an interface, or empty: then the host's own choice. */
export interface RequestedAddresses {
  readonly ListenAddr: string;
  readonly AdvertiseAddr: string;
  readonly DataPathAddr: string;
}

/** Reads the recorded state; undefined when the node is in no swarm. @throws SkepError data_loss */
export function readNodeState(file: string): NodeState | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isNodeState(value)) return value;
  } catch (error) {
    throw damaged(file, error);
  }
  throw damaged(file, undefined);
}

function damaged(file: string, cause: unknown): SkepError {
  return new SkepError(
    'data_loss',
    `${file} is damaged: restore it from a backup, or remove the folder it is in and join again`,
    { cause },
  );
}

function isNodeState(value: unknown): value is NodeState {
  if (typeof value !== 'object' || value === null) return false;
  const state = value as Record<string, unknown>;
  const strings = ['LocalAddr', 'RemoteAddr', 'ListenAddr', 'AdvertiseAddr', 'DataPathAddr'];
  return (
    strings.every((key) => typeof state[key] === 'string') &&
    typeof state['DataPathPort'] === 'number' &&
    typeof state['SubnetSize'] === 'number' &&
    Array.isArray(state['DefaultAddressPool']) &&
    state['DefaultAddressPool'].every((pool) => typeof pool === 'string') &&
    (state['Requested'] === undefined || isRequested(state['Requested']))
  );
}

function isRequested(value: unknown): value is RequestedAddresses {
  if (typeof value !== 'object' || value === null) return false;
  const requested = value as Record<string, unknown>;
  return ['ListenAddr', 'AdvertiseAddr', 'DataPathAddr'].every(
    (key) => typeof requested[key] === 'string',
  );
}

/** Records the state durably: temporary file, fsync, rename, fsync of the folder. */
function writeNodeState(file: string, state: NodeState): void {
  const directory = path.dirname(file);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = `${file}.new`;
  const descriptor = openSync(temporary, 'w', 0o600);
  try {
    writeSync(descriptor, JSON.stringify(state));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, file);
  const directoryDescriptor = openSync(directory, 'r');
  try {
    fsyncSync(directoryDescriptor);
  } finally {
    closeSync(directoryDescriptor);
  }
}

/** The recorded start of a node while it runs: changes reach the disk once the membership counts. */
export class NodeRecord {
  private committed: boolean;

  /** `committed`: the state is on disk already. */
  constructor(
    private readonly file: string,
    private state: NodeState,
    options: { readonly committed: boolean },
  ) {
    this.committed = options.committed;
  }

  get value(): NodeState {
    return this.state;
  }

  /** Makes the membership count: a crash before it leaves no half-made node. */
  commit(): void {
    writeNodeState(this.file, this.state);
    this.committed = true;
  }

  /** The host has other addresses than before. */
  relocate(state: NodeState): void {
    this.state = state;
    if (this.committed) writeNodeState(this.file, state);
  }

  /** Notes the data path's port, which a session told, and the address that fits the swarm. */
  setDataPath(dataPathPort: number, dataPathAddress: string): void {
    const { DataPathPort, DataPathAddr } = this.state;
    if (DataPathPort === dataPathPort && DataPathAddr === dataPathAddress) return;
    this.state = { ...this.state, DataPathPort: dataPathPort, DataPathAddr: dataPathAddress };
    if (this.committed) writeNodeState(this.file, this.state);
  }
}
