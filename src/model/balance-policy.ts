/**
 * How a service chooses the backend of a new connection (`skep.lb.policy`). A label, because Swarm has
 * no field for it.
 */

/** Label of a service. */
export const LB_POLICY_LABEL = 'skep.lb.policy';

/** Its values; the first is the default. Docs/datapath.md says what each does. */
export const BALANCE_POLICIES = ['maglev', 'client-ip', 'least-conn', 'local-first'] as const;

/** One of {@link BALANCE_POLICIES}. */
export type BalancePolicy = (typeof BALANCE_POLICIES)[number];

/** The policy of this name; undefined if there is none. */
export function parseBalancePolicy(text: string | undefined): BalancePolicy | undefined {
  return BALANCE_POLICIES.find((policy) => policy === text);
}

/** The policy among a service's labels. What is not one, which only other software can have stored, counts as not set. */
export function balancePolicy(labels: Readonly<Record<string, string>> | undefined): BalancePolicy {
  return parseBalancePolicy(labels?.[LB_POLICY_LABEL]) ?? 'maglev';
}
