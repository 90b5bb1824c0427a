/** Applying many small changes at once, each with what must happen after it is stored. */
import type { Store, WriteTransaction } from '../../store/types.js';

/** Done once a group is stored. */
export type AfterCommit = () => void;

/**
 * One atomic change. It may run more than once before it is stored, and then only its last run
 * counts; so whatever is not the transaction's belongs into the function it returns.
 */
export type Group = (transaction: WriteTransaction) => AfterCommit | void;

/**
 * Stores all groups; one that fails does not hold up the others.
 * @throws the first failure, after all others are stored
 */
export async function commitGroups(store: Store, groups: readonly Group[]): Promise<void> {
  if (groups.length === 0) return;
  const effects: (AfterCommit | void)[] = groups.map(() => undefined);
  const outcomes = await store.batch(
    groups.map((group, index) => (transaction) => {
      effects[index] = group(transaction);
    }),
  );
  let failure: Error | undefined;
  for (const [index, error] of outcomes.entries()) {
    if (error === undefined) effects[index]?.();
    else failure ??= error;
  }
  if (failure !== undefined) throw failure;
}
