/**
 * Who takes part, and how changes move it on. Changes of one member at a time, or of several by way
 * of a joint configuration in which both the old and the new voters must agree (Raft thesis, 4.1,
 * 4.3). A change that is not possible where it comes changes nothing, at every member alike.
 */
import type { ConfChange, ConfState, JointChange, MemberChange, NodeId } from './types.js';

/** The members in sets; a value, never written to. */
export interface Membership {
  /** Those that vote; while a joint change is under way those that will. */
  readonly incoming: ReadonlySet<NodeId>;
  /** Those that voted before a joint change; empty when none is under way. */
  readonly outgoing: ReadonlySet<NodeId>;
  /** Members that receive the log and have no vote. */
  readonly learners: ReadonlySet<NodeId>;
  /** Outgoing voters that will be learners. */
  readonly learnersNext: ReadonlySet<NodeId>;
  /** Whether the leader ends the joint configuration by itself. */
  readonly autoLeave: boolean;
}

const NOBODY: ReadonlySet<NodeId> = new Set();

/** Nobody at all: a node that is yet to be added. */
export const NO_MEMBERS: Membership = {
  incoming: NOBODY,
  outgoing: NOBODY,
  learners: NOBODY,
  learnersNext: NOBODY,
  autoLeave: false,
};

/** The membership that a snapshot names. */
export function membershipOf(conf: ConfState): Membership {
  const { voters, learners, joint } = conf;
  const incoming = new Set(voters);
  const outgoing = new Set(joint?.outgoing);
  const votes = (id: NodeId): boolean => incoming.has(id) || outgoing.has(id);
  return {
    incoming,
    outgoing,
    learners: new Set(learners.filter((id) => !votes(id))),
    learnersNext: new Set(joint?.learnersNext.filter((id) => outgoing.has(id))),
    autoLeave: outgoing.size > 0 && joint?.autoLeave === true,
  };
}

/** The membership as it goes into snapshots; ids ascend. */
export function confOf(membership: Membership): ConfState {
  const { incoming, outgoing, learners, learnersNext, autoLeave } = membership;
  const conf = { voters: sorted(incoming), learners: sorted(learners) };
  if (outgoing.size === 0) return conf;
  const joint = { outgoing: sorted(outgoing), learnersNext: sorted(learnersNext), autoLeave };
  return { ...conf, joint };
}

/** Everyone with a vote in one half or both. */
export function votersOf({ incoming, outgoing }: Membership): ReadonlySet<NodeId> {
  return outgoing.size === 0 ? incoming : new Set([...incoming, ...outgoing]);
}

/** Everyone who receives the log. */
export function membersOf(membership: Membership): ReadonlySet<NodeId> {
  return new Set([...votersOf(membership), ...membership.learners]);
}

/** The membership after a change; the same object when the change changes nothing. */
export function changedMembership(membership: Membership, change: ConfChange): Membership {
  switch (change.kind) {
    case 'joint':
      return enterJoint(membership, change);
    case 'leaveJoint':
      return leaveJoint(membership);
    default:
      return changeOne(membership, change);
  }
}

function changeOne(membership: Membership, { kind, nodeId }: MemberChange): Membership {
  const { incoming, outgoing, learners } = membership;
  if (outgoing.size > 0) return membership;
  switch (kind) {
    case 'addVoter':
      if (incoming.has(nodeId)) return membership;
      return {
        ...membership,
        incoming: new Set([...incoming, nodeId]),
        learners: without(learners, nodeId),
      };
    case 'addLearner':
      // A voter does not become a learner in one step: it might be the quorum's last link.
      if (incoming.has(nodeId) || learners.has(nodeId)) return membership;
      return { ...membership, learners: new Set([...learners, nodeId]) };
    case 'removeMember': {
      // A cluster without voters could never decide anything again.
      const isLastVoter = incoming.has(nodeId) && incoming.size === 1;
      if (isLastVoter || !membersOf(membership).has(nodeId)) return membership;
      return {
        ...membership,
        incoming: without(incoming, nodeId),
        learners: without(learners, nodeId),
      };
    }
    case 'updateMember':
      return membership;
  }
}

function enterJoint(membership: Membership, { transition, changes }: JointChange): Membership {
  if (membership.outgoing.size > 0 || membership.incoming.size === 0) return membership;
  const [only] = changes;
  if (transition === 'auto' && changes.length <= 1) {
    return only === undefined ? membership : changeOne(membership, only);
  }
  const outgoing = membership.incoming;
  const incoming = new Set(membership.incoming);
  const learners = new Set(membership.learners);
  const learnersNext = new Set<NodeId>();
  for (const { kind, nodeId } of changes) {
    if (kind === 'updateMember') continue;
    incoming.delete(nodeId);
    learners.delete(nodeId);
    learnersNext.delete(nodeId);
    if (kind === 'addVoter') incoming.add(nodeId);
    else if (kind === 'addLearner') {
      // It still votes in the old half, and cannot be both there.
      (outgoing.has(nodeId) ? learnersNext : learners).add(nodeId);
    }
  }
  if (incoming.size === 0) return membership;
  return { incoming, outgoing, learners, learnersNext, autoLeave: transition !== 'explicit' };
}

function leaveJoint(membership: Membership): Membership {
  const { incoming, outgoing, learners, learnersNext } = membership;
  if (outgoing.size === 0) return membership;
  return { ...NO_MEMBERS, incoming, learners: new Set([...learners, ...learnersNext]) };
}

function without(ids: ReadonlySet<NodeId>, id: NodeId): ReadonlySet<NodeId> {
  return new Set([...ids].filter((other) => other !== id));
}

function sorted(ids: ReadonlySet<NodeId>): readonly NodeId[] {
  return [...ids].sort((a, b) => a - b);
}
