/**
 * Single situations that have bitten real implementations, step by step. Sections are those of the
 * Raft paper (extended version) and of Ongaro's thesis.
 */
import t from 'tap';
import { RawNode } from '../../src/raft/raw-node.js';
import type { RaftOptions } from '../../src/raft/config.js';
import type { ConfState, Entry, HardState, Message, Ready } from '../../src/raft/types.js';
import { SeededRandom } from '../support/simulated-environment.js';

type Of<T extends Message['type']> = Message & { readonly type: T };

interface Setup {
  readonly id?: number;
  readonly conf?: ConfState;
  /** Terms of the entries from index 2 on; index 1 is the snapshot, of term 1. */
  readonly terms?: readonly number[];
  readonly hardState?: Partial<HardState>;
  readonly options?: Partial<RaftOptions>;
}

function entry(index: number, term: number, data = ''): Entry {
  return { index, term, kind: 'normal', data: Buffer.from(data) };
}

function newNode(setup: Setup = {}): RawNode {
  const conf = setup.conf ?? { voters: [1, 2, 3], learners: [] };
  const entries = (setup.terms ?? []).map((term, at) => entry(at + 2, term));
  const term = entries.at(-1)?.term ?? 1;
  return new RawNode({
    id: setup.id ?? 1,
    stored: {
      hardState: { term, vote: 0, commit: 1, ...setup.hardState },
      snapshot: { index: 1, term: 1, conf },
      entries,
    },
    random: new SeededRandom(1),
    latestSnapshot: () => ({ index: 1, term: 1, conf, data: new Uint8Array(0) }),
    ...setup.options,
  });
}

/** Does all there is to do; returns what was sent, in order. */
function drain(node: RawNode, onReady?: (ready: Ready) => void): Message[] {
  const sent: Message[] = [];
  while (node.hasReady()) {
    const ready = node.ready();
    onReady?.(ready);
    for (const committed of ready.committedEntries) {
      if (committed.kind === 'confChange') node.applyConfChange(RawNode.confChangeOf(committed));
    }
    sent.push(...ready.messages, ...ready.messagesAfterPersist);
    node.advance();
  }
  return sent;
}

function only<T extends Message['type']>(messages: readonly Message[], type: T): Of<T>[] {
  return messages.filter((message): message is Of<T> => message.type === type);
}

/** Makes node 1 of three leader with the vote of node 2. */
function elect(node: RawNode): Message[] {
  node.campaign();
  const { term } = node.status();
  drain(node);
  const answer = { type: 'voteResponse', from: 2, to: 1, reject: false, commit: 1 } as const;
  node.step({ ...answer, term, logTerm: 1 });
  return drain(node);
}

function accept(node: RawNode, from: number, index: number): void {
  node.step({
    type: 'appendResponse',
    from,
    to: 1,
    term: node.status().term,
    index,
    reject: false,
    rejectHint: 0,
    logTerm: 0,
  });
}

function append(
  node: RawNode,
  previous: readonly [index: number, term: number],
  entries: readonly Entry[],
  commit: number,
  term = node.status().term,
): Message[] {
  const [index, logTerm] = previous;
  node.step({ type: 'append', from: 2, to: 1, term, index, logTerm, entries, commit });
  return drain(node);
}

function ticks(node: RawNode, count: number): Message[] {
  const sent: Message[] = [];
  for (let at = 0; at < count; at++) {
    node.tick();
    sent.push(...drain(node));
  }
  return sent;
}

void t.test('an only voter applies its entry after it is durable, not before', async (t) => {
  const node = newNode({ conf: { voters: [1], learners: [] } });
  node.campaign();
  drain(node);
  t.equal(node.status().role, 'leader');
  const result = node.propose(Buffer.from('x'));
  t.match(result, { kind: 'accepted', term: 2 });
  const first = node.ready();
  t.equal(first.entries.length, 1);
  t.ok(first.mustSync);
  t.equal(first.committedEntries.length, 0);
  node.propose(Buffer.from('y'));
  node.advance();
  const second = node.ready();
  t.same(
    second.committedEntries.map((one) => one.data.toString()),
    ['x'],
  );
  t.same(
    second.entries.map((one) => one.data.toString()),
    ['y'],
    'gathered meanwhile',
  );
});

void t.test('a vote is sent with or after the hard state that says so', async (t) => {
  const node = newNode();
  node.step({ type: 'vote', from: 2, to: 1, term: 5, index: 1, logTerm: 1, transfer: false });
  const ready = node.ready();
  t.equal(ready.messages.length, 0);
  t.match(ready.hardState, { term: 5, vote: 2 });
  t.match(ready.messagesAfterPersist, [{ type: 'voteResponse', reject: false }]);
});

void t.test('one vote a term, and only for a log as complete (5.4.1)', async (t) => {
  const cases = [
    { index: 3, logTerm: 2, granted: true },
    { index: 9, logTerm: 1, granted: false },
    { index: 2, logTerm: 2, granted: false },
    { index: 1, logTerm: 3, granted: true },
  ];
  for (const { index, logTerm, granted } of cases) {
    const node = newNode({ terms: [2, 2] });
    const vote = { type: 'vote', to: 1, term: 5, index, logTerm, transfer: false } as const;
    node.step({ ...vote, from: 2 });
    t.match(drain(node), [{ type: 'voteResponse', reject: !granted }], `${index}@${logTerm}`);
    node.step({ ...vote, from: 3, index: 9, logTerm: 4 });
    t.match(drain(node), [{ type: 'voteResponse', reject: granted }]);
  }
});

void t.test('a leader commits only entries of its own term by counting (5.4.2)', async (t) => {
  const node = newNode({ terms: [2, 2], hardState: { term: 2 } });
  elect(node);
  t.equal(node.status().term, 3);
  accept(node, 2, 3);
  drain(node);
  t.equal(node.status().commit, 1, 'a majority has index 3, of term 2');
  accept(node, 2, 4);
  drain(node);
  t.equal(node.status().commit, 4, 'with the entry of term 3 all before are committed');
});

void t.test('an old append does not cut off what was acknowledged since (5.3)', async (t) => {
  const node = newNode({ terms: [2, 2, 2] });
  t.match(append(node, [1, 1], [entry(2, 2)], 1), [{ type: 'appendResponse', index: 2 }]);
  t.equal(node.status().lastIndex, 4);
  append(node, [2, 2], [entry(3, 3)], 1, 3);
  t.equal(node.status().lastIndex, 3, 'a conflict does cut it off');
});

void t.test('the commit index does not pass the last entry known to match', async (t) => {
  const node = newNode({ terms: [2, 2, 2] });
  append(node, [2, 2], [], 4);
  t.equal(node.status().commit, 2);
});

void t.test('a rejection names where the logs may meet, a term at a time', async (t) => {
  const node = newNode({ terms: [2, 2, 2, 3, 3] });
  const [answer] = append(node, [9, 5], [entry(10, 5)], 1, 5);
  t.match(answer, { reject: true, index: 9, rejectHint: 6, logTerm: 3 });
  const [second] = append(node, [6, 2], [], 1, 5);
  t.match(second, { reject: true, index: 6, rejectHint: 4, logTerm: 2 });
});

void t.test('told to commit what it never had, a node stops instead of guessing', async (t) => {
  const node = newNode();
  t.throws(() => {
    node.step({ type: 'heartbeat', from: 2, to: 1, term: 2, commit: 7, context: '' });
  }, /was this manager's state lost/);
});

void t.test('without a quorum heard of, a leader steps down (CheckQuorum)', async (t) => {
  const node = newNode();
  elect(node);
  accept(node, 2, 2);
  ticks(node, 10);
  t.equal(node.status().role, 'leader', 'heard of since it was elected');
  ticks(node, 10);
  t.equal(node.status().role, 'follower');
});

void t.test(
  'whoever hears of a leader lets no removed node disturb it (thesis 4.2.3)',
  async (t) => {
    const node = newNode();
    append(node, [1, 1], [], 1, 2);
    for (const type of ['vote', 'preVote'] as const) {
      node.step({ type, from: 3, to: 1, term: 9, index: 9, logTerm: 8, transfer: false });
      t.same(drain(node), []);
    }
    t.equal(node.status().term, 2);
    node.step({ type: 'vote', from: 3, to: 1, term: 9, index: 9, logTerm: 8, transfer: true });
    t.match(drain(node), [{ type: 'voteResponse', reject: false, term: 9 }]);
  },
);

void t.test("a poll raises nobody's term; a laggard learns it from the refusal", async (t) => {
  const laggard = newNode();
  const polls = only(ticks(laggard, 20), 'preVote');
  t.ok(polls.length >= 2);
  t.equal(laggard.status().term, 1);
  t.equal(laggard.status().role, 'preCandidate');
  const voter = newNode({ id: 2, terms: [5] });
  const [poll] = polls.filter((message) => message.to === 2);
  if (poll === undefined) throw new Error('no poll');
  voter.step(poll);
  const [refusal] = drain(voter);
  t.match(refusal, { type: 'preVoteResponse', reject: true, term: 5 });
  if (refusal !== undefined) laggard.step(refusal);
  t.equal(laggard.status().term, 5);
});

void t.test('no read and no membership change before a commit of the own term', async (t) => {
  const node = newNode({ terms: [2], hardState: { commit: 2 } });
  elect(node);
  t.ok(node.readIndex('r1'));
  const change = { kind: 'addVoter', nodeId: 4, context: new Uint8Array(0) } as const;
  t.same(node.proposeConfChange(change), { kind: 'dropped', reason: 'confChangePending' });
  accept(node, 2, 3);
  const answered: string[] = [];
  const sent = drain(node, (ready) => answered.push(...ready.readStates.map((r) => r.context)));
  t.same(answered, [], 'a quorum must confirm the leadership first');
  const beat = only(sent, 'heartbeat').find((message) => message.context === 'r1');
  t.ok(beat);
  node.step({ type: 'heartbeatResponse', from: 3, to: 1, term: 3, context: 'r1' });
  drain(node, (ready) => answered.push(...ready.readStates.map((r) => `${r.context}@${r.index}`)));
  t.same(answered, ['r1@3']);
  t.match(node.proposeConfChange(change), { kind: 'accepted' });
  t.same(
    node.proposeConfChange({ ...change, nodeId: 5 }),
    { kind: 'dropped', reason: 'confChangePending' },
    'one at a time',
  );
});

void t.test('a removed leader steps down, the last voter stays', async (t) => {
  const node = newNode({ conf: { voters: [1, 2], learners: [] } });
  elect(node);
  accept(node, 2, 2);
  drain(node);
  node.proposeConfChange({ kind: 'removeMember', nodeId: 1, context: new Uint8Array(0) });
  drain(node);
  accept(node, 2, 3);
  // A message from before the removal is applied carries the commit index, too; it may be lost.
  node.takeMessages();
  const farewell = only(drain(node), 'append');
  t.match(farewell, [{ to: 2, commit: 3 }], 'the other one hears that it is on its own');
  t.equal(node.status().role, 'follower');
  t.same(node.status().conf.voters, [2]);
  t.same(only(ticks(node, 60), 'preVote'), [], 'and does not campaign');
  const last = newNode({ conf: { voters: [1], learners: [] } });
  last.applyConfChange({ kind: 'removeMember', nodeId: 1, context: new Uint8Array(0) });
  t.same(last.status().conf.voters, [1]);
});

void t.test('the window to a follower is bounded, and opens again', async (t) => {
  const node = newNode({ options: { inflightMessagesMax: 3 } });
  elect(node);
  accept(node, 2, 2);
  drain(node);
  const first: number[][] = [];
  for (let at = 0; at < 10; at++) {
    node.propose(Buffer.from(String(at)));
    const sent = only(drain(node), 'append').filter(
      (one) => one.to === 2 && one.entries.length > 0,
    );
    first.push(...sent.map((one) => one.entries.map((entry) => entry.index)));
  }
  t.same(first, [[3], [4], [5]]);
  node.step({ type: 'heartbeatResponse', from: 2, to: 1, term: 2, context: '' });
  const probe = only(drain(node), 'append').filter((one) => one.to === 2);
  t.match(probe, [{ entries: [] }], 'a full window is probed, so that a lost one is noticed');
  accept(node, 2, 5);
  const rest = only(drain(node), 'append').filter((one) => one.to === 2);
  t.same(
    rest.flatMap((one) => one.entries.map((e) => e.index)),
    [6, 7, 8, 9, 10, 11, 12],
  );
});

void t.test('entries proposed in one go share messages', async (t) => {
  const node = newNode({ options: { messageBytesMax: 60 } });
  elect(node);
  accept(node, 2, 2);
  drain(node);
  for (let at = 0; at < 5; at++) node.propose(Buffer.from('0123'));
  const sent = only(drain(node), 'append').filter((one) => one.to === 2);
  t.same(
    sent.map((one) => one.entries.map((entry) => entry.index)),
    [
      [3, 4, 5],
      [6, 7],
    ],
    'as many in each as fit',
  );
});

void t.test('a follower that needs compacted entries gets a snapshot and goes on', async (t) => {
  const node = newNode({ options: { inflightMessagesMax: 8 } });
  elect(node);
  accept(node, 2, 2);
  drain(node);
  node.step({
    type: 'appendResponse',
    from: 3,
    to: 1,
    term: 2,
    index: 1,
    reject: true,
    rejectHint: 0,
    logTerm: 0,
  });
  t.match(only(drain(node), 'snapshot'), [{ to: 3, snapshot: { index: 1 } }]);
  t.equal(node.status().progress.get(3)?.state, 'snapshot');
  node.reportSnapshot(3, false);
  t.equal(node.status().progress.get(3)?.state, 'probe');
  node.step({ type: 'heartbeatResponse', from: 3, to: 1, term: 2, context: '' });
  t.equal(only(drain(node), 'snapshot').length, 1, 'sent again when the follower is heard of');
  accept(node, 3, 1);
  t.equal(node.status().progress.get(3)?.state, 'replicate');
  t.match(only(drain(node), 'append'), [{ to: 3, entries: [{ index: 2 }] }]);
});

void t.test('leadership goes to a follower with the whole log; proposals wait', async (t) => {
  const node = newNode();
  elect(node);
  accept(node, 2, 2);
  drain(node);
  node.transferLeader(3);
  t.same(node.propose(Buffer.from('x')), { kind: 'dropped', reason: 'transferring' });
  t.same(only(drain(node), 'timeoutNow'), []);
  accept(node, 3, 2);
  t.match(only(drain(node), 'timeoutNow'), [{ to: 3 }]);
  accept(node, 2, 2);
  ticks(node, 10);
  t.match(node.propose(Buffer.from('x')), { kind: 'accepted' }, 'given up after a while');
});

void t.test('acknowledgements of what was never sent are ignored', async (t) => {
  const node = newNode();
  elect(node);
  accept(node, 2, 900);
  accept(node, 77, 2);
  drain(node);
  t.equal(node.status().commit, 1);
  const gap = append(newNode(), [1, 1], [entry(2, 1), entry(4, 1)], 1);
  t.same(gap, [], 'entries with a gap are not taken');
});

void t.test('proposals are bounded', async (t) => {
  const node = newNode({ options: { uncommittedBytesMax: 100 } });
  elect(node);
  t.match(node.propose(new Uint8Array(60)), { kind: 'accepted' });
  t.same(node.propose(new Uint8Array(60)), { kind: 'dropped', reason: 'tooMuchUncommitted' });
  drain(node);
  accept(node, 2, 3);
  drain(node);
  t.match(node.propose(new Uint8Array(60)), { kind: 'accepted' });
});

void t.test(
  'what was truncated while it was being written does not count as written',
  async (t) => {
    const node = newNode();
    node.step({
      type: 'append',
      from: 2,
      to: 1,
      term: 2,
      index: 1,
      logTerm: 1,
      entries: [entry(2, 2), entry(3, 2)],
      commit: 1,
    });
    const writing = node.ready();
    t.equal(writing.entries.length, 2);
    node.step({
      type: 'append',
      from: 3,
      to: 1,
      term: 3,
      index: 1,
      logTerm: 1,
      entries: [entry(2, 3)],
      commit: 2,
    });
    node.advance();
    const next = node.ready();
    t.same(next.committedEntries, [], 'entry 2 of term 3 is committed and not on disk yet');
    t.match(next.entries, [{ index: 2, term: 3 }]);
    node.advance();
    t.match(node.ready().committedEntries, [{ index: 2, term: 3 }]);
  },
);
