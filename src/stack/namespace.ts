/** Names and labels within a stack. */
import { SkepError } from '../model/errors.js';
import { type Labels, NAMESPACE_LABEL } from './swarm-spec.js';

/** A stack's name, and what it makes of others. */
export class Namespace {
  /** @throws SkepError invalid_argument */
  constructor(readonly name: string) {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name))
      throw new SkepError(
        'invalid_argument',
        `invalid stack name: ${JSON.stringify(name)}; letters, digits and _ . - only`,
      );
  }

  /** A key of the compose file as a name of the swarm. */
  scope(key: string): string {
    return `${this.name}_${key}`;
  }

  /** Whether something with these labels is the stack's. */
  owns(labels: Labels | null | undefined): boolean {
    return labels?.[NAMESPACE_LABEL] === this.name;
  }

  /** Labels with the stack's. */
  label(labels: Labels = {}): Labels {
    return { ...labels, [NAMESPACE_LABEL]: this.name };
  }
}
