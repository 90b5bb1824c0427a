/** Majorities: how far a group has agreed, and how an election stands. */
import type { NodeId } from './types.js';

/** Voters that make a majority of `voters`. */
export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** The highest index that a majority has; 0 without voters. */
export function agreedIndex(voters: Iterable<NodeId>, matchOf: (voter: NodeId) => number): number {
  const matches = Array.from(voters, matchOf).sort((a, b) => b - a);
  return matches[majority(matches.length) - 1] ?? 0;
}

/** How an election stands. */
export type VoteResult = 'won' | 'lost' | 'pending';

/** The result given the votes so far; won without voters is impossible: it is lost. */
export function voteResult(
  voters: ReadonlySet<NodeId>,
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  const needed = majority(voters.size);
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === true) granted += 1;
    else if (vote === false) refused += 1;
  }
  if (granted >= needed) return 'won';
  return voters.size - refused < needed ? 'lost' : 'pending';
}

/** Whether the nodes of `active` contain a majority of `voters`. */
export function hasMajority(voters: ReadonlySet<NodeId>, active: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const voter of voters) if (active(voter)) count += 1;
  return voters.size > 0 && count >= majority(voters.size);
}
