/**
 * Brings a process of the name server to what it should have, by differences: what was told is
 * remembered, what is wanted may change at any time, and nothing more is made than the other side reads.
 */
import { NAME_FRAME_BYTES } from '../limits.js';
import type { NamedNetwork, NameRow } from './names.js';
import type { FeedMessage, NamedContainer, NameSettings } from './protocol.js';

/** A network with all its rows, by key. */
export interface WantedNetwork {
  readonly network: NamedNetwork;
  readonly rows: ReadonlyMap<string, NameRow>;
}

/** What the process should have. */
export interface WantedNames {
  readonly settings: NameSettings;
  /** By id. */
  readonly networks: ReadonlyMap<string, WantedNetwork>;
}

/** Where the messages go. */
export interface FeedSink {
  readonly isFull: boolean;
  write(message: FeedMessage): void;
}

interface ToldNetwork {
  text: string;
  readonly rows: Map<string, NameRow>;
}

/** One per skepd; sinks come and go. */
export class NameFeed {
  private wanted: WantedNames | undefined;
  private containers: ReadonlyMap<string, NamedContainer> = new Map();
  private settings = '';
  private readonly networks = new Map<string, ToldNetwork>();
  private readonly told = new Map<string, string>();
  private sink: FeedSink | undefined;
  /** All of these names were told. */
  private toldNames: WantedNames | undefined;
  /** The sink has been told everything once: what it had before is forgotten. */
  private committed = false;
  private messages: Iterator<FeedMessage> | undefined;
  private marks = 0;

  /** Number of the mark that stands for what is wanted now. */
  get mark(): number {
    return this.marks;
  }

  /** All names; another object each time they change. */
  want(wanted: WantedNames): void {
    this.wanted = wanted;
    this.changed();
  }

  /** All containers. Without names nothing is told of them. */
  wantContainers(containers: ReadonlyMap<string, NamedContainer>): void {
    this.containers = containers;
    this.changed();
  }

  /** Asks for a sign of life; false if nothing can be asked yet. */
  knock(): boolean {
    this.changed();
    return this.sink !== undefined && this.wanted !== undefined;
  }

  /** The sink has whatever it has: everything is told anew. */
  attach(sink: FeedSink): void {
    this.settings = '';
    this.networks.clear();
    this.told.clear();
    this.toldNames = undefined;
    this.committed = false;
    this.sink = sink;
    this.changed();
  }

  detach(): void {
    this.sink = undefined;
    this.messages = undefined;
  }

  /** Goes on writing; to be called when the sink has room again. */
  pump(): void {
    const { sink } = this;
    if (sink === undefined) return;
    while (!sink.isFull) {
      const next = this.messages?.next();
      if (next === undefined || next.done === true) {
        this.messages = undefined;
        return;
      }
      sink.write(next.value);
    }
  }

  private changed(): void {
    this.marks += 1;
    if (this.sink === undefined || this.wanted === undefined) return;
    this.messages = this.differences(this.wanted);
    this.pump();
  }

  /** What is still to be told. May be given up half-way: what it has yielded counts as told. */
  private *differences(wanted: WantedNames): Generator<FeedMessage> {
    const { marks } = this;
    if (!this.committed && this.settings === '') yield { kind: 'begin' };
    const settings = JSON.stringify(wanted.settings);
    if (settings !== this.settings) {
      this.settings = settings;
      yield { kind: 'settings', settings: wanted.settings };
    }
    // A container that starts must not wait for names; a process that starts first gets the names.
    if (this.committed) yield* this.containerChanges();
    if (this.toldNames !== wanted) yield* this.nameChanges(wanted);
    this.toldNames = wanted;
    yield* this.containerChanges();
    if (!this.committed) {
      this.committed = true;
      yield { kind: 'commit' };
    }
    yield { kind: 'mark', number: marks };
  }

  private *nameChanges(wanted: WantedNames): Generator<FeedMessage> {
    for (const [id, { network, rows }] of wanted.networks) yield* this.network(id, network, rows);
    for (const id of this.networks.keys()) {
      if (wanted.networks.has(id)) continue;
      this.networks.delete(id);
      yield { kind: 'network-gone', id };
    }
  }

  private *containerChanges(): Generator<FeedMessage> {
    for (const [id, container] of this.containers) {
      const text = JSON.stringify(container);
      if (this.told.get(id) === text) continue;
      this.told.set(id, text);
      yield { kind: 'container', container };
    }
    for (const id of this.told.keys()) {
      if (this.containers.has(id)) continue;
      this.told.delete(id);
      yield { kind: 'container-gone', id };
    }
  }

  private *network(
    id: string,
    network: NamedNetwork,
    rows: ReadonlyMap<string, NameRow>,
  ): Generator<FeedMessage> {
    const text = JSON.stringify(network);
    const told = this.networks.get(id) ?? { text: '', rows: new Map<string, NameRow>() };
    this.networks.set(id, told);
    if (told.text !== text) {
      told.text = text;
      yield { kind: 'network', network };
    }
    let gone: string[] = [];
    let put: NameRow[] = [];
    let bytes = 0;
    for (const [key] of told.rows) {
      if (rows.has(key)) continue;
      told.rows.delete(key);
      gone.push(key);
      bytes += key.length;
      if (bytes < NAME_FRAME_BYTES) continue;
      yield { kind: 'rows', networkId: id, put, gone };
      [gone, put, bytes] = [[], [], 0];
    }
    for (const [key, row] of rows) {
      const former = told.rows.get(key);
      if (former !== undefined && (former === row || isSameRow(former, row))) continue;
      told.rows.set(key, row);
      put.push(row);
      bytes += sizeOf(row);
      if (bytes < NAME_FRAME_BYTES) continue;
      yield { kind: 'rows', networkId: id, put, gone };
      [gone, put, bytes] = [[], [], 0];
    }
    if (gone.length + put.length > 0) yield { kind: 'rows', networkId: id, put, gone };
  }
}

/** About what a row takes in a frame, bytes. */
export function sizeOf(row: NameRow): number {
  const names = [row.key, row.name, row.serviceName, ...row.aliases, ...row.taskAliases];
  return names.reduce((sum, name) => sum + name.length + 3, 150);
}

function isSameRow(one: NameRow, other: NameRow): boolean {
  return (
    one.name === other.name &&
    one.endpointIp === other.endpointIp &&
    one.virtualIp === other.virtualIp &&
    one.serviceName === other.serviceName &&
    isSameList(one.aliases, other.aliases) &&
    isSameList(one.taskAliases, other.taskAliases)
  );
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, index) => each === other[index]);
}
