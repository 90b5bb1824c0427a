/**
 * Changes of the membership by the rules, and the one property they rest on: what can decide before
 * a change and what can decide after it have a member in common (Raft thesis, 4.1 and 4.3).
 */
import * as fc from 'fast-check';
import t from 'tap';
import { decodeConfChange, encodeConfChange } from '../../src/raft/conf-change.js';
import { changedMembership, confOf, membershipOf } from '../../src/raft/membership.js';
import { agreedIndex, type Halves, hasMajority, voteResult } from '../../src/raft/quorum.js';
import type { ConfChange, ConfState, MemberChange, NodeId } from '../../src/raft/types.js';
import { ExpectedMembership } from './expected-membership.js';

const IDS: readonly NodeId[] = [1, 2, 3, 4, 5, 6];
const EMPTY = new Uint8Array(0);

function one(kind: MemberChange['kind'], nodeId: NodeId): MemberChange {
  return { kind, nodeId, context: EMPTY };
}

function joint(
  transition: 'auto' | 'implicit' | 'explicit',
  ...changes: readonly MemberChange[]
): ConfChange {
  return { kind: 'joint', transition, changes };
}

const LEAVE: ConfChange = { kind: 'leaveJoint' };

function after(conf: ConfState, ...changes: readonly ConfChange[]): ConfState {
  return confOf(changes.reduce(changedMembership, membershipOf(conf)));
}

const memberChange = fc.record({
  kind: fc.constantFrom('addVoter', 'addLearner', 'removeMember', 'updateMember'),
  nodeId: fc.constantFrom(...IDS),
  context: fc.uint8Array({ maxLength: 3 }),
}) satisfies fc.Arbitrary<MemberChange>;

const anyChange: fc.Arbitrary<ConfChange> = fc.oneof(
  memberChange,
  fc.record({
    kind: fc.constant('joint'),
    transition: fc.constantFrom('auto', 'implicit', 'explicit'),
    changes: fc.array(memberChange, { maxLength: 5 }),
  }),
  fc.constant(LEAVE),
);

const THREE: ConfState = { voters: [1, 2, 3], learners: [] };

void t.test('a joint change has both halves until it is left', async (t) => {
  const change = joint('explicit', one('addVoter', 4), one('removeMember', 1));
  const half = after(THREE, change);
  t.same(half, {
    voters: [2, 3, 4],
    learners: [],
    joint: { outgoing: [1, 2, 3], learnersNext: [], autoLeave: false },
  });
  t.same(after(half, LEAVE), { voters: [2, 3, 4], learners: [] });
  t.same(after(half, one('addVoter', 5)), half, 'nothing else meanwhile');
  t.same(after(half, change), half);
  t.same(after(THREE, LEAVE), THREE, 'nothing to be left');
});

void t.test('a voter that becomes a learner votes until the joint change is left', async (t) => {
  const half = after(THREE, joint('implicit', one('addLearner', 3), one('addLearner', 4)));
  t.same(half, {
    voters: [1, 2],
    learners: [4],
    joint: { outgoing: [1, 2, 3], learnersNext: [3], autoLeave: true },
  });
  t.same(after(half, LEAVE), { voters: [1, 2], learners: [3, 4] });
  t.same(after(THREE, one('addLearner', 3)), THREE, 'not in one step');
});

void t.test('a single change is joint only when that is asked for', async (t) => {
  t.same(after(THREE, joint('auto', one('addVoter', 4))), { voters: [1, 2, 3, 4], learners: [] });
  t.match(after(THREE, joint('implicit', one('addVoter', 4))), { joint: { autoLeave: true } });
  t.same(after(THREE, joint('auto')), THREE);
});

void t.test('a change that would leave no voters is none', async (t) => {
  const all = [1, 2, 3].map((id) => one('removeMember', id));
  t.same(after(THREE, joint('auto', ...all)), THREE);
  const last = { voters: [1], learners: [2] };
  t.same(after(last, one('removeMember', 1)), last);
  const nobody = { voters: [], learners: [] };
  t.same(after(nobody, joint('implicit', one('addVoter', 1))), nobody);
});

void t.test('any changes lead to what the rules say', async (t) => {
  const property = fc.property(fc.array(anyChange, { maxLength: 12 }), (changes) => {
    let expected = ExpectedMembership.ofVoters([1, 2, 3]);
    let membership = membershipOf(THREE);
    for (const change of changes) {
      expected = expected.after(change);
      membership = changedMembership(membership, change);
      const conf = confOf(membership);
      if (JSON.stringify(conf) !== JSON.stringify(expected.conf)) return false;
      if (JSON.stringify(confOf(membershipOf(conf))) !== JSON.stringify(conf)) return false;
    }
    return true;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }));
});

function halvesOf({ voters, joint }: ConfState): Halves {
  return joint === undefined ? [new Set(voters)] : [new Set(voters), new Set(joint.outgoing)];
}

/** All sets of members that can decide. */
function quorums(conf: ConfState): ReadonlySet<NodeId>[] {
  const halves = halvesOf(conf);
  return Array.from(
    { length: 2 ** IDS.length },
    (_, bits) => new Set(IDS.filter((_, at) => (bits & (1 << at)) !== 0)),
  ).filter((set) => hasMajority(halves, (id) => set.has(id)));
}

void t.test('quorums before and after any change have a member in common', async (t) => {
  const property = fc.property(fc.array(anyChange, { maxLength: 6 }), (changes) => {
    let conf: ConfState = THREE;
    for (const change of changes) {
      const next = after(conf, change);
      const later = quorums(next);
      const meet = quorums(conf).every((a) => later.every((b) => [...a].some((id) => b.has(id))));
      if (!meet) return false;
      conf = next;
    }
    return true;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 150 }));
});

void t.test('both halves must agree: index, votes', async (t) => {
  const property = fc.property(
    fc.subarray([...IDS], { minLength: 1 }),
    fc.subarray([...IDS], { minLength: 1 }),
    fc.array(fc.nat(4), { minLength: IDS.length, maxLength: IDS.length }),
    fc.array(fc.option(fc.boolean()), { minLength: IDS.length, maxLength: IDS.length }),
    (incoming, outgoing, matches, drawn) => {
      const halves = [new Set(incoming), new Set(outgoing)];
      const matchOf = (id: NodeId): number => matches[id - 1] ?? 0;
      const reached = [4, 3, 2, 1, 0].find((index) =>
        hasMajority(halves, (id) => matchOf(id) >= index),
      );
      if (agreedIndex(halves, matchOf) !== reached) return false;
      const votes = new Map(
        IDS.flatMap((id) => {
          const vote = drawn[id - 1] ?? null;
          return vote === null ? [] : [[id, vote] as const];
        }),
      );
      const isWon = hasMajority(halves, (id) => votes.get(id) === true);
      const mayBeWon = hasMajority(halves, (id) => votes.get(id) !== false);
      const expected = isWon ? 'won' : mayBeWon ? 'pending' : 'lost';
      return voteResult(halves, votes) === expected;
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000 }));
  t.equal(voteResult([new Set()], new Map()), 'lost', 'nobody elects nobody');
});

void t.test('changes come out of an entry as they went in; other bytes are refused', async (t) => {
  const roundTrip = fc.property(anyChange, (change) => {
    const decoded = decodeConfChange(encodeConfChange(change));
    const bytes = Buffer.from(encodeConfChange(decoded));
    return bytes.equals(encodeConfChange(change)) && decoded.kind === change.kind;
  });
  t.doesNotThrow(() => fc.assert(roundTrip, { numRuns: 500 }));
  const change = joint('explicit', one('addVoter', 4), one('removeMember', 1));
  t.match(decodeConfChange(encodeConfChange(change)), {
    kind: 'joint',
    transition: 'explicit',
    changes: [
      { kind: 'addVoter', nodeId: 4 },
      { kind: 'removeMember', nodeId: 1 },
    ],
  });
  const bytes = encodeConfChange(change);
  for (const length of [0, 1, 3, 7, bytes.length - 1]) {
    const cut = bytes.subarray(0, length);
    t.throws(() => decodeConfChange(cut), { code: 'data_loss' }, `${length} bytes of it`);
  }
  for (const garbage of [[6], [5, 0], [4, 3], [4, 0, 0, 0, 0, 1, 4], [4, 0, 255, 255, 255, 255]]) {
    t.throws(() => decodeConfChange(Uint8Array.from(garbage)), { code: 'data_loss' });
  }
});
