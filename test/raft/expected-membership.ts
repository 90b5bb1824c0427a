/**
 * What the members should be after a change, by the rules that users are told and in other terms
 * than the core's: everybody's part now, and while a joint change is under way everybody's part after it.
 */
import type { ConfChange, ConfState, MemberChange, NodeId } from '../../src/raft/types.js';

type Part = 'voter' | 'learner';
type Parts = ReadonlyMap<NodeId, Part>;

/** See the file's head. */
export class ExpectedMembership {
  readonly #now: Parts;
  readonly #next: Parts | undefined;
  readonly #autoLeave: boolean;

  private constructor(now: Parts, next: Parts | undefined, autoLeave: boolean) {
    this.#now = now;
    this.#next = next;
    this.#autoLeave = autoLeave;
  }

  static ofVoters(voters: readonly NodeId[]): ExpectedMembership {
    return new ExpectedMembership(new Map(voters.map((id) => [id, 'voter'])), undefined, false);
  }

  /** What every member must say it is. */
  get conf(): ConfState {
    const now = this.#now;
    const next = this.#next;
    if (next === undefined) return { voters: those(now, 'voter'), learners: those(now, 'learner') };
    const outgoing = those(now, 'voter');
    const learners = those(next, 'learner');
    return {
      voters: those(next, 'voter'),
      learners: learners.filter((id) => !outgoing.includes(id)),
      joint: {
        outgoing,
        learnersNext: learners.filter((id) => outgoing.includes(id)),
        autoLeave: this.#autoLeave,
      },
    };
  }

  after(change: ConfChange): ExpectedMembership {
    const now = this.#now;
    const next = this.#next;
    if (change.kind === 'leaveJoint') {
      return next === undefined ? this : new ExpectedMembership(next, undefined, false);
    }
    if (next !== undefined) return this;
    if (change.kind !== 'joint') return this.#afterOne(change);
    const { transition, changes } = change;
    const [only] = changes;
    if (transition === 'auto' && changes.length < 2) {
      return only === undefined ? this : this.#afterOne(only);
    }
    const parts = changes.reduce(moved, now);
    if (!hasVoter(parts)) return this;
    return new ExpectedMembership(now, parts, transition !== 'explicit');
  }

  #afterOne(change: MemberChange): ExpectedMembership {
    const demotes = change.kind === 'addLearner' && this.#now.get(change.nodeId) === 'voter';
    const parts = moved(this.#now, change);
    return demotes || !hasVoter(parts) ? this : new ExpectedMembership(parts, undefined, false);
  }
}

function moved(parts: Parts, { kind, nodeId }: MemberChange): Parts {
  const others = [...parts].filter(([id]) => id !== nodeId);
  switch (kind) {
    case 'addVoter':
      return new Map([...others, [nodeId, 'voter']]);
    case 'addLearner':
      return new Map([...others, [nodeId, 'learner']]);
    case 'removeMember':
      return new Map(others);
    case 'updateMember':
      return parts;
  }
}

function hasVoter(parts: Parts): boolean {
  return [...parts.values()].includes('voter');
}

function those(parts: Parts, part: Part): NodeId[] {
  return [...parts.keys()].filter((id) => parts.get(id) === part).sort((a, b) => a - b);
}
