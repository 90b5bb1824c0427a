/**
 * Gossip without a network, for tests above it: members of one hub see each other's entries at
 * once, on the networks they joined.
 */
import type {
  Gossip,
  GossipEvent,
  GossipMember,
  GossipOptions,
  StartGossip,
} from '../../../src/native/gossip-types.js';

interface Entry {
  readonly networkId: string;
  readonly table: string;
  readonly key: string;
  readonly owner: string;
  readonly value: Uint8Array;
}

interface Participant {
  readonly options: GossipOptions;
  readonly onEvents: (events: readonly GossipEvent[]) => void;
  readonly networks: Set<string>;
}

/** The ring. */
export class GossipHub {
  readonly participants = new Map<string, Participant>();
  readonly entries = new Map<string, Entry>();
  /** Members whose agents vanished without a word. */
  readonly failed = new Set<string>();

  /** A `startGossip` whose members meet here. */
  readonly start: StartGossip = (options, onEvents) => {
    const participant: Participant = { options, onEvents, networks: new Set() };
    this.failed.delete(options.nodeName);
    this.participants.set(options.nodeName, participant);
    this.tellOthers(options.nodeName, [this.memberEvent(options, 'alive')]);
    return this.membership(participant);
  };

  /** An agent dies: the others hear that it failed. */
  fail(name: string): void {
    const participant = this.participants.get(name);
    if (participant === undefined) return;
    this.participants.delete(name);
    this.failed.add(name);
    const gone = [...this.entries.values()].filter(({ owner }) => owner === name);
    for (const [id, { owner }] of this.entries) if (owner === name) this.entries.delete(id);
    this.tellOthers(name, [this.memberEvent(participant.options, 'failed')]);
    for (const entry of gone) {
      this.publish(entry.networkId, name, {
        ...{ type: 'entry-removed', networkId: entry.networkId, table: entry.table },
        ...{ key: entry.key, owner: name, reason: 'owner-failed' },
      });
    }
  }

  private membership(participant: Participant): Gossip {
    const { options, networks, onEvents } = participant;
    const owner = options.nodeName;
    const id = (networkId: string, table: string, key: string) => `${networkId} ${table} ${key}`;
    return {
      join: () => {
        const others = [...this.participants.values()].filter((each) => each !== participant);
        onEvents(others.map((each) => this.memberEvent(each.options, 'alive')));
        return Promise.resolve(others.length);
      },
      joinNetwork: (networkId) => {
        networks.add(networkId);
        const known = [...this.entries.values()].filter((each) => {
          return each.networkId === networkId && each.owner !== owner;
        });
        onEvents(known.map((each) => ({ type: 'entry', ...each })));
      },
      leaveNetwork: (networkId) => {
        networks.delete(networkId);
      },
      putEntry: (networkId, table, key, value) => {
        const entry = { networkId, table, key, owner, value };
        this.entries.set(id(networkId, table, key), entry);
        this.publish(networkId, owner, { type: 'entry', ...entry });
      },
      deleteEntry: (networkId, table, key) => {
        this.entries.delete(id(networkId, table, key));
        this.publish(networkId, owner, {
          ...{ type: 'entry-removed', networkId, table, key, owner, reason: 'deleted' },
        });
      },
      // All of them have it at once.
      spread: () => Promise.resolve(0),
      acknowledge: () => undefined,
      reconnect: () => undefined,
      setKeys: () => undefined,
      members: () =>
        [...this.participants.values()].map(({ options: each }) => member(each, 'alive')),
      counters: () => ({}),
      leave: () => Promise.resolve(),
      close: () => undefined,
    };
  }

  private publish(networkId: string, from: string, event: GossipEvent): void {
    for (const [name, { networks, onEvents }] of this.participants) {
      if (name !== from && networks.has(networkId)) onEvents([event]);
    }
  }

  private tellOthers(from: string, events: readonly GossipEvent[]): void {
    for (const [name, { onEvents }] of this.participants) if (name !== from) onEvents(events);
  }

  private memberEvent(options: GossipOptions, state: GossipMember['state']): GossipEvent {
    return { type: 'member', member: member(options, state) };
  }
}

function member(options: GossipOptions, state: GossipMember['state']): GossipMember {
  const { nodeName: name, advertiseAddress: address, port } = options;
  return { name, address, port, state };
}
