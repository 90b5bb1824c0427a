/**
 * What a leader proposed on a state that then came differently is refused as on every other manager, and
 * what it proposes afterwards is stored alike again.
 */
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { ServiceSchema } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { createLocalStore, MemoryStore } from '../../src/store/memory-store.js';
import type { LogPlace, Proposal, Proposer } from '../../src/store/proposer.js';
import { service } from './objects.js';

/** Takes entries, and leaves it to the test when they are applied. */
class HeldProposer implements Proposer {
  readonly requests: Uint8Array[] = [];
  #index: bigint;

  constructor(firstIndex: bigint) {
    this.#index = firstIndex;
  }

  get nextPlace(): LogPlace {
    return { index: this.#index, term: 1 };
  }

  propose(request: Uint8Array): Proposal {
    this.requests.push(request);
    const index = this.#index++;
    const never = new Promise<void>(() => {});
    return { index, applied: never, settled: never };
  }
}

/** The entry that creates a service with this name. */
async function creation(id: string, name: string): Promise<Uint8Array> {
  const { store, proposer } = createLocalStore(systemEnvironment);
  const requests: Uint8Array[] = [];
  proposer.onEntry = (_index, request) => requests.push(request);
  await store.update((tx) => tx.create('service', service(id, name)));
  return requests[0] ?? new Uint8Array(0);
}

void t.test('an entry in between', async (t) => {
  const environment = systemEnvironment;
  const proposer = new HeldProposer(2n);
  const leader = new MemoryStore({ environment, proposer, freezeObjects: true });
  const follower = new MemoryStore({ environment, proposer: new HeldProposer(1n) });
  const propose = async (write: Parameters<typeof leader.update>[0]): Promise<void> => {
    void leader.update(write);
    // An entry of its own.
    await new Promise((resolve) => setImmediate(resolve));
  };
  await propose((tx) => tx.create('service', service('s1', 'web')));
  await propose((tx) => {
    const stored = tx.get('service', 's1') ?? create(ServiceSchema);
    tx.update('service', { ...stored, spec: service('s1', 'other').spec ?? stored.spec });
  });
  await propose((tx) => tx.create('service', service('s2', 'web')));
  const apply = (at: bigint, request: Uint8Array = new Uint8Array(0)): string | undefined => {
    const own = leader.applyEntry(at, request);
    const others = follower.applyEntry(at, request);
    t.equal(own?.message, others?.message, `entry ${at}`);
    t.equal(leader.stateHash(), follower.stateHash(), `after entry ${at}`);
    return own?.message;
  };
  const [first, second, third] = proposer.requests;
  t.equal(apply(1n, await creation('s0', 'web')), undefined);
  t.equal(apply(2n, first), 'name conflicts with an existing object');
  t.equal(apply(3n, second), 'object does not exist');
  t.equal(apply(4n, third), 'name conflicts with an existing object');
  await propose((tx) => tx.create('service', service('s3', 'third')));
  t.equal(apply(5n, proposer.requests[3]), undefined);
  t.equal(leader.count('service'), 2);
});
