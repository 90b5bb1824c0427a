/**
 * The keys of this node: made when the first encrypted network comes, changed every rotation, the
 * old one kept beside the new one until nobody needs it. Says what the record of this node is.
 */
import type { Environment } from '../../model/environment.js';
import { SkepError } from '../../model/errors.js';
import type { TlsIdentity } from '../../rpc/types.js';
import { KEY_LIFE_MIN_MS, KEY_LIFE_ROTATIONS } from '../limits.js';
import { writeKeyRecord } from './key-record.js';
import { type KeyState, NO_KEYS, type OwnGeneration } from './key-state.js';
import { KEY_BYTES, privateKeyFrom, publicKeyOf, tunnelNumber } from './keys.js';

/** What records are made of besides the keys. */
export interface OwnKeysParts {
  readonly environment: Environment;
  readonly identity: () => TlsIdentity;
  readonly underlayAddress: string;
}

/** How a node takes part; set on the node (`src/model/labels.ts`). */
export interface KeySettings {
  /** First of two UDP ports. */
  readonly port: number;
  readonly rotationMs: number;
}

/** A record and when it is to be replaced (wall clock). */
export interface SignedRecord {
  readonly record: Uint8Array;
  readonly renewMs: number;
}

/** Own keys in memory; whoever changes them stores `state()` before the record goes out. */
export class OwnKeys {
  private readonly parts: OwnKeysParts;
  private sequence = 0n;
  private attempt = 0;
  private keys: readonly OwnGeneration[] = [];
  private signed: SignedRecord | undefined;
  /** Keys or certificate are not those of the record any more. It counts until the next is there. */
  private stale = true;

  constructor(parts: OwnKeysParts) {
    this.parts = parts;
  }

  /** Oldest first. */
  get generations(): readonly OwnGeneration[] {
    return this.keys;
  }

  restore(state: KeyState): void {
    this.sequence = state.sequence;
    this.attempt = state.attempt;
    this.keys = state.generations;
    this.signed = undefined;
    this.stale = true;
  }

  state(): Omit<KeyState, 'records'> {
    return { sequence: this.sequence, attempt: this.attempt, generations: this.keys };
  }

  /** The pair of tunnel addresses of a node with this id. */
  tunnel(nodeId: string): number {
    return tunnelNumber(nodeId, this.attempt);
  }

  /** Another pair: this one belongs to another node. */
  move(): void {
    this.attempt += 1;
    this.stale = true;
  }

  /** Two devices, two ports: two keys are in use for a while. */
  portOf(number: bigint, settings: KeySettings): number {
    return settings.port + Number(number & 1n);
  }

  /** Adds a key that will replace the present one. */
  begin(settings: KeySettings): void {
    const { clock, random } = this.parts.environment;
    const last = this.keys.at(-1);
    if (this.keys.length > 1) throw new SkepError('internal', 'a key change is under way');
    const number = (last?.number ?? 0n) + 1n;
    const privateKey = privateKeyFrom(random.bytes(KEY_BYTES));
    const port = this.portOf(number, settings);
    this.keys = [...this.keys, { number, privateKey, port, createdMs: clock.nowMs() }];
    this.stale = true;
  }

  /** Gives a new key up that cannot be used; the old one stays. */
  abandon(): void {
    this.keys = this.keys.slice(0, 1);
    this.stale = true;
  }

  /** Lets go of all keys but the newest. */
  finish(): void {
    this.keys = this.keys.slice(-1);
    this.stale = true;
  }

  /** The certificate changed: the next record carries the new one. */
  resign(): void {
    this.stale = true;
  }

  /** Whether {@link record} would make a new one. */
  needsRecord(): boolean {
    if (this.keys.length === 0) return false;
    if (this.stale || this.signed === undefined) return true;
    return this.parts.environment.clock.nowMs() >= this.signed.renewMs;
  }

  /** The record in force, once there is one. */
  get record(): Uint8Array | undefined {
    return this.signed?.record;
  }

  /** Signs a new record; once the state is stored, {@link announce} puts it in force. */
  sign(nodeId: string, settings: KeySettings): SignedRecord {
    const nowMs = this.parts.environment.clock.nowMs();
    const lifeMs = Math.max(KEY_LIFE_MIN_MS, settings.rotationMs * KEY_LIFE_ROTATIONS);
    // The clock, so that a node which lost its state is still newer than its old records.
    const next = this.sequence + 1n;
    const byClock = BigInt(Math.floor(nowMs));
    this.sequence = byClock > next ? byClock : next;
    const record = writeKeyRecord(
      {
        nodeId,
        sequence: this.sequence,
        expiresMs: Math.floor(nowMs + lifeMs),
        underlayAddress: this.parts.underlayAddress,
        tunnel: this.tunnel(nodeId),
        generations: this.keys.map(({ number, privateKey, port }) => ({
          number,
          publicKey: Buffer.from(publicKeyOf(privateKey)).toString('hex'),
          port,
        })),
      },
      this.parts.identity(),
    );
    this.stale = false;
    return { record, renewMs: nowMs + lifeMs / 2 };
  }

  /** From now on this is the record. */
  announce(signed: SignedRecord): void {
    this.signed = signed;
  }

  /** Forgets everything: the node leaves. */
  clear(): void {
    this.restore(NO_KEYS);
  }
}
