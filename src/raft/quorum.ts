/**
 * Majorities: how far a group has agreed, and how an election stands. The group is one set of
 * voters, or the two of a joint configuration, which must both agree (Raft thesis, 4.3).
 */
import type { NodeId } from './types.js';

/** Sets of voters of which each must have a majority. */
export type Halves = readonly ReadonlySet<NodeId>[];

/** Voters that make a majority of `voters`. */
export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** The highest index that a majority of each half has; 0 without voters. */
export function agreedIndex(halves: Halves, matchOf: (voter: NodeId) => number): number {
  return Math.min(
    ...halves.map((voters) => {
      const matches = Array.from(voters, matchOf).sort((a, b) => b - a);
      return matches[majority(matches.length) - 1] ?? 0;
    }),
  );
}

/** How an election stands. */
export type VoteResult = 'won' | 'lost' | 'pending';

/** The result given the votes so far: won in each half, or lost in one. */
export function voteResult(halves: Halves, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  const results = halves.map((voters) => halfResult(voters, votes));
  if (results.includes('lost')) return 'lost';
  return results.includes('pending') ? 'pending' : 'won';
}

/** Won without voters is impossible: it is lost. */
function halfResult(voters: ReadonlySet<NodeId>, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
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

/** Whether the nodes of `active` contain a majority of each half. */
export function hasMajority(halves: Halves, active: (id: NodeId) => boolean): boolean {
  return halves.every((voters) => {
    let count = 0;
    for (const voter of voters) if (active(voter)) count += 1;
    return voters.size > 0 && count >= majority(voters.size);
  });
}
