/** Several raft nodes with real logs and a transport within the process. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SkepError } from '../../src/model/errors.js';
import type { Service } from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';
import type { Annotations } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { silentLogger } from '../../src/observe/logger.js';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { openRaft, prepareRaftMember } from '../../src/store/raft-cluster.js';
import { wasNotProposed } from '../../src/store/proposer.js';
import type { RaftNode } from '../../src/store/raft-node.js';
import { encodeConfChange } from '../../src/raft/conf-change.js';
import type { ConfChange, MemberChange, Message } from '../../src/raft/types.js';
import { encodeMember } from '../../src/store/members.js';
import {
  checkLinearizable,
  describeVerdict,
  NEVER,
  type Operation,
} from '../support/linearizability.js';
import { SeededRandom } from '../support/simulated-environment.js';
import { service, task } from './objects.js';
import { bootstrap, leading, stateDirectory, TEST_KEYS } from './state-directory.js';

/** Resolves once `condition` holds; the test's own timeout is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Nodes of one cluster and the wires between them. */
class Cluster {
  readonly nodes = new Map<number, RaftNode>();
  readonly cut = new Set<number>();
  readonly #base: string;

  constructor(t: Test) {
    this.#base = stateDirectory(t);
    mkdirSync(this.#base);
    t.teardown(async () => {
      await Promise.all([...this.nodes.values()].map((node) => node.close()));
    });
  }

  directory(name: string): string {
    return join(this.#base, name);
  }

  async open(name: string): Promise<RaftNode> {
    const node = await openRaft({
      directory: this.directory(name),
      keys: TEST_KEYS,
      segmentBytes: 256 * 1024,
      environment: systemEnvironment,
      logger: silentLogger,
      tickIntervalMs: 50,
      snapshotIntervalEntries: 400,
      freezeObjects: true,
      transport: { send: (message) => this.#carry(message) },
      onFatal: (error) => {
        throw error;
      },
    });
    this.nodes.set(node.status().id, node);
    return node;
  }

  async close(node: RaftNode): Promise<void> {
    this.nodes.delete(node.status().id);
    await node.close();
  }

  /** Adds a member that begins with nothing. */
  async join(leader: RaftNode, name: string, raftId: number): Promise<RaftNode> {
    await prepareRaftMember({ directory: this.directory(name), keys: TEST_KEYS }, raftId);
    const node = await this.open(name);
    await leader.addMember({ raftId, nodeId: name, address: `${name}:2377` });
    return node;
  }

  get leader(): RaftNode | undefined {
    return [...this.nodes.values()].find(
      (node) => node.isLeader && !this.cut.has(node.status().id),
    );
  }

  /** Messages are copied, as bytes on a wire would be, and arrive in another turn. */
  #carry(message: Message): void {
    setImmediate(() => {
      const to = this.nodes.get(message.to);
      const lost = this.cut.has(message.from) || this.cut.has(message.to) || to === undefined;
      if (!lost) to.step(structuredClone(message));
      if (message.type === 'snapshot') {
        this.nodes.get(message.from)?.reportSnapshot(message.to, !lost);
      }
    });
  }
}

async function create(node: RaftNode, from: number, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => from + at);
  const outcomes = await node.store.batch(
    numbers.map((at) => (tx) => tx.create('task', task(`t${at}`, 's1'))),
  );
  const failed = outcomes.find((error) => error !== undefined);
  if (failed !== undefined) throw failed;
}

async function threeManagers(t: Test): Promise<{ cluster: Cluster; first: RaftNode }> {
  const cluster = new Cluster(t);
  await bootstrap(cluster.directory('one'));
  const first = await cluster.open('one');
  await leading(first);
  await create(first, 0, 300);
  await cluster.join(first, 'two', 2);
  await cluster.join(first, 'three', 3);
  // Until the others have applied that they are three, two of them are no quorum to them.
  await until(() => sameState(cluster.nodes.values()));
  return { cluster, first };
}

function sameState(nodes: Iterable<RaftNode>): boolean {
  return new Set(Array.from(nodes, (node) => node.store.stateHash())).size === 1;
}

void t.test('members join, follow, and take over when the leader is gone', async (t) => {
  const { cluster, first } = await threeManagers(t);
  await create(first, 300, 100);
  await until(() => sameState(cluster.nodes.values()));
  t.equal(first.members().length, 3);
  const follower = [...cluster.nodes.values()].find((node) => !node.isLeader);
  if (follower === undefined) throw new Error('no follower');
  t.equal(follower.leader()?.nodeId, 'node1');
  await follower.readBarrier();
  t.equal(follower.store.count('task'), 400);
  await t.rejects(
    follower.store.update((tx) => tx.create('task', task('x', 's'))),
    {
      code: 'unavailable',
    },
  );

  await cluster.close(first);
  await until(() => cluster.leader !== undefined);
  const second = cluster.leader as RaftNode;
  t.equal(second.store.count('task'), 400);
  await create(second, 400, 50);

  const back = await cluster.open('one');
  await until(() => sameState(cluster.nodes.values()));
  t.equal(back.store.count('task'), 450);
  t.notOk(back.isLeader);
});

void t.test('a cut-off leader stops answering, its unacknowledged writes fail', async (t) => {
  const { cluster, first } = await threeManagers(t);
  const events: boolean[] = [];
  first.onLeadership((isLeader) => events.push(isLeader));
  cluster.cut.add(first.status().id);
  const write = first.store.update((tx) => tx.create('task', task('lost', 's1')));
  const outcome = write.then(
    () => 'applied',
    (error: unknown) => SkepError.from(error).code,
  );
  t.equal(await outcome, 'unavailable');
  t.same(events, [true, false]);
  await until(() => cluster.leader !== undefined);
  const second = cluster.leader as RaftNode;
  await create(second, 1000, 10);
  cluster.cut.clear();
  await until(() => sameState(cluster.nodes.values()));
  t.equal(
    first.store.view((tx) => tx.get('task', 'lost')),
    undefined,
  );
  t.equal(first.store.count('task'), 310);
});

void t.test('a member far behind gets a snapshot of the leader', async (t) => {
  const { cluster, first } = await threeManagers(t);
  const third = cluster.nodes.get(3);
  if (third === undefined) throw new Error('no third member');
  await cluster.close(third);
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from({ length: 100 }, (_, at) =>
        first.store.update((tx) => tx.create('task', task(`r${round}x${at}`, 's1'))),
      ),
    );
  }
  const back = await cluster.open('three');
  const version = back.store.version();
  await until(() => sameState(cluster.nodes.values()));
  t.equal(back.store.count('task'), 1300);
  await cluster.close(back);
  const again = await cluster.open('three');
  t.ok(again.store.version() > version, 'the snapshot is on its disk');
  await until(() => sameState(cluster.nodes.values()));
});

void t.test('leadership is handed over, members are removed', async (t) => {
  const { cluster, first } = await threeManagers(t);
  await until(() => sameState(cluster.nodes.values()));
  first.transferLeadership(2);
  await until(() => cluster.nodes.get(2)?.isLeader === true);
  const second = cluster.leader as RaftNode;
  await create(second, 500, 10);
  await second.removeMember(first.status().id);
  t.same(
    second
      .members()
      .map((member) => member.raftId)
      .sort((a, b) => a - b),
    [2, 3],
  );
  await cluster.close(first);
  await second.removeMember(3);
  await cluster.close(cluster.nodes.get(3) as RaftNode);
  await create(second, 600, 10);
  t.equal(second.store.count('task'), 320);
});

void t.test(
  'a joint change in the log is followed: who leaves stays known until the end',
  async (t) => {
    const cluster = new Cluster(t);
    mkdirSync(cluster.directory('.'), { recursive: true });
    const storage = { directory: cluster.directory('two'), keys: TEST_KEYS };
    await prepareRaftMember(storage, 2);
    let node = await cluster.open('two');
    const add = (nodeId: number): MemberChange => {
      const member = { raftId: nodeId, nodeId: `n${nodeId}`, address: `n${nodeId}:2377` };
      return { kind: 'addVoter', nodeId, context: encodeMember(member) };
    };
    const remove: MemberChange = { kind: 'removeMember', nodeId: 3, context: new Uint8Array(0) };
    const changes: ConfChange[] = [
      add(1),
      add(2),
      add(3),
      { kind: 'joint', transition: 'explicit', changes: [add(4), remove] },
      { kind: 'leaveJoint' },
    ];
    /** What a leader sends: the entries after `index`, all of them agreed upon. */
    const sent = (index: number, count: number): Message => ({
      type: 'append',
      from: 1,
      to: 2,
      term: 1,
      index,
      logTerm: index === 0 ? 0 : 1,
      commit: index + count,
      entries: changes.slice(index, index + count).map((change, at) => {
        const data = encodeConfChange(change);
        return { term: 1, index: index + at + 1, kind: 'confChange', data };
      }),
    });
    const ids = (): readonly number[] => node.members().map((member) => member.raftId);
    node.step(sent(0, 4));
    await until(() => node.status().applied === 4);
    t.same(ids(), [1, 2, 3, 4]);
    t.match(node.status().conf, { voters: [1, 2, 4], joint: { outgoing: [1, 2, 3] } });
    await cluster.close(node);
    node = await cluster.open('two');
    node.step(sent(4, 1));
    await until(() => node.status().applied === 5);
    t.same(ids(), [1, 2, 4]);
    t.same(node.status().conf, { voters: [1, 2, 4], learners: [] });
  },
);

void t.test('writers share flushes while leaders change: none lost, none twice', async (t) => {
  const { cluster } = await threeManagers(t);
  const seedTasks = cluster.leader?.store.count('task') ?? 0;
  await (cluster.leader as RaftNode).store.update((tx) =>
    tx.create('service', service('counter', 'counter')),
  );
  const acknowledged = new Set<string>();
  const neverMade = new Set<string>();
  const run = { isOver: false };
  /** Adds tasks through whoever leads, and counts each in the same transaction. */
  const writer = async (name: number): Promise<void> => {
    for (let at = 0; !run.isOver; at++) {
      const id = `w${name}x${at}`;
      const { leader } = cluster;
      if (leader === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      try {
        await leader.store.update((tx) => {
          const counter = tx.get('service', 'counter');
          if (counter?.spec === undefined) throw new Error('no counter');
          const labels = { n: String(Number(counter.spec.annotations?.labels['n'] ?? 0) + 1) };
          const annotations = { ...counter.spec.annotations, labels } as Annotations;
          tx.update('service', { ...counter, spec: { ...counter.spec, annotations } });
          tx.create('task', task(id, 'w'));
        });
        acknowledged.add(id);
      } catch (error) {
        t.equal(SkepError.from(error).code, 'unavailable');
        if (wasNotProposed(error)) neverMade.add(id);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  };
  const writers = Array.from({ length: 24 }, (_, at) => writer(at));
  for (let round = 0; round < 4; round++) {
    const before = acknowledged.size;
    await until(() => acknowledged.size > before + 200);
    const leader = cluster.leader as RaftNode;
    if (round % 2 === 0) {
      cluster.cut.add(leader.status().id);
      await until(() => cluster.leader !== undefined && cluster.leader !== leader);
      cluster.cut.clear();
    } else {
      leader.transferLeadership();
      await until(() => cluster.leader !== undefined && cluster.leader !== leader);
    }
  }
  run.isOver = true;
  await Promise.all(writers);
  await until(() => cluster.leader !== undefined && sameState(cluster.nodes.values()));
  const { store } = cluster.leader as RaftNode;
  const tasks = new Set(
    store.view((tx) => tx.find('task', { by: 'service', serviceId: 'w' })).map(({ id }) => id),
  );
  t.equal(store.count('task'), seedTasks + tasks.size);
  const counter = store.view((tx) => tx.get('service', 'counter'));
  t.equal(counter?.spec?.annotations?.labels['n'], String(tasks.size), 'each counted once');
  t.same(
    [...acknowledged].filter((id) => !tasks.has(id)),
    [],
    'none acknowledged is missing',
  );
  t.same(
    [...neverMade].filter((id) => tasks.has(id)),
    [],
    'none is there that was said not to be proposed',
  );
});

/** Clients of a cluster that write, compare and set, and read, and note what they were answered. */
class Clients {
  readonly history: Operation[] = [];
  /** So that all of them end. */
  isOver = false;
  readonly #cluster: Cluster;
  #moment = 0;
  #values = 0;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** One after the other until the end, at whatever member; a lost leader may still take it for its own. */
  async run(client: string, random: SeededRandom): Promise<void> {
    while (!this.isOver) {
      const node = random.pick([...this.#cluster.nodes.values()]);
      const key = random.pick(KEYS);
      if (random.chance(0.4)) await this.read(client, node, key);
      else if (node.isLeader) await this.#update(client, node, key, random);
      else await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async read(client: string, node: RaftNode, key: string): Promise<void> {
    const calledAt = this.#now();
    try {
      await node.readBarrier(200);
    } catch {
      return;
    }
    const value = node.store.view((tx) => labelOf(tx.get('service', key)));
    this.history.push({ client, key, calledAt, answeredAt: this.#now(), kind: 'read', value });
  }

  async #update(client: string, node: RaftNode, key: string, random: SeededRandom): Promise<void> {
    const value = `${key}${(this.#values += 1)}`;
    const known = node.store.view((tx) => labelOf(tx.get('service', key)));
    const asked = random.chance(0.5) ? { expected: known } : undefined;
    const span = { client, key, calledAt: this.#now() };
    const note = (answeredAt: number, swapped: boolean | undefined): void => {
      if (asked === undefined) this.history.push({ ...span, answeredAt, kind: 'write', value });
      else {
        const { expected } = asked;
        const outcome = { kind: 'compareAndSet', expected, value, swapped } as const;
        this.history.push({ ...span, answeredAt, ...outcome });
      }
    };
    try {
      await node.store.update((tx) => {
        const present = tx.get('service', key);
        if (asked !== undefined && labelOf(present) !== asked.expected) throw OTHER_VALUE;
        const changed = service(key, key);
        const annotations = { ...changed.spec?.annotations, labels: { value } } as Annotations;
        const object = { ...changed, spec: { ...changed.spec, annotations } } as typeof changed;
        if (present === undefined) tx.create('service', object);
        else tx.update('service', { ...object, meta: present.meta });
      });
      note(this.#now(), true);
    } catch (error) {
      if (error === OTHER_VALUE) note(this.#now(), false);
      else if (!wasNotProposed(error)) note(NEVER, undefined);
    }
  }

  #now(): number {
    return (this.#moment += 1);
  }
}

const KEYS = ['a', 'b', 'c'];
const OTHER_VALUE = new Error('the value is another one');

function labelOf(one: Service | undefined): string | undefined {
  return one?.spec?.annotations?.labels['value'];
}

void t.test('what clients are answered while leaders change is linearizable', async (t) => {
  const { cluster } = await threeManagers(t);
  const clients = new Clients(cluster);
  const runs = Array.from({ length: 8 }, (_, at) => clients.run(`c${at}`, new SeededRandom(at)));
  for (let round = 0; round < 2; round++) {
    const before = clients.history.length;
    await until(() => clients.history.length > before + 100);
    const leader = cluster.leader as RaftNode;
    if (round % 2 === 0) cluster.cut.add(leader.status().id);
    else leader.transferLeadership();
    await until(() => cluster.leader !== undefined && cluster.leader !== leader);
    cluster.cut.clear();
  }
  clients.isOver = true;
  await Promise.all(runs);
  await until(() => cluster.leader !== undefined && sameState(cluster.nodes.values()));
  for (const node of cluster.nodes.values()) {
    for (const key of KEYS) await clients.read('last', node, key);
  }
  const kinds = new Set(clients.history.map((one) => `${one.kind} ${one.answeredAt === NEVER}`));
  t.ok(kinds.has('write false') && kinds.has('read false'), [...kinds].join());
  const verdict = checkLinearizable(clients.history);
  t.equal(verdict.kind, 'linearizable', describeVerdict(verdict));
});
