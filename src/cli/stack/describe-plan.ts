/** A plan as lines to read, for `--diff`. Contents of secrets are not shown, nor known. */
import { differences, textDifferences } from '../../stack/diff.js';
import type { ObjectPlan, Plan } from './plan.js';

/** `+` is new, `~` changes, `-` goes away. */
export function describePlan(plan: Plan, prune: boolean): readonly string[] {
  const lines = [
    ...plan.newNetworks.map(({ Name }) => `+ network ${Name}`),
    ...plan.objects.flatMap(describeObject),
    ...plan.services.flatMap(({ spec, current, changes }) => {
      if (current === undefined) return [`+ service ${spec.Name}`];
      if (changes.length === 0) return [];
      return [`~ service ${spec.Name}`, ...changes.map((change) => `    ${change}`)];
    }),
    ...leftoverLines(plan, prune),
  ];
  return lines.length === 0 ? ['nothing changes'] : lines;
}

/** What is of the stack and not in its files, a line each. */
export function leftoverLines({ leftovers }: Plan, prune: boolean): readonly string[] {
  const { services, networks, secrets, configs } = leftovers;
  const names = [
    ...services.map(({ Spec }) => `service ${Spec.Name}`),
    ...networks.map(({ Name }) => `network ${Name}`),
    ...secrets.map(({ Spec }) => `secret ${Spec.Name}`),
    ...configs.map(({ Spec }) => `config ${Spec.Name}`),
  ];
  return names.map((name) =>
    prune ? `- ${name}` : `  ${name} is not in the files; --prune removes it`,
  );
}

function describeObject({ kind, spec, existing, old }: ObjectPlan): readonly string[] {
  const gone = old.map(({ Spec }) => `- ${kind} ${Spec.Name} (once unused)`);
  if (existing !== undefined) {
    const labels = differences(existing.Spec.Labels, spec.Labels);
    return labels.length === 0
      ? gone
      : [`~ ${kind} ${spec.Name}`, ...labels.map((line) => `    label ${line}`), ...gone];
  }
  const last = old.at(-1);
  if (last === undefined) return [`+ ${kind} ${spec.Name}`];
  const content =
    kind === 'secret'
      ? []
      : textDifferences(bytesOf(last.Spec.Data), bytesOf(spec.Data)).map((line) => `    ${line}`);
  return [`+ ${kind} ${spec.Name}, new content of ${last.Spec.Name}`, ...content, ...gone];
}

function bytesOf(data: string | undefined): Uint8Array {
  return Buffer.from(data ?? '', 'base64');
}
