/** The order of services by `depends_on`. */
import { SkepError } from '../model/errors.js';
import type { Service } from './service-schema.js';

/** Keys of services, each behind those it depends on. @throws SkepError invalid_argument for a cycle */
export function dependencyOrder(services: ReadonlyMap<string, Service>): readonly string[] {
  const order = new Set<string>();
  const visit = (key: string, above: readonly string[]): void => {
    if (order.has(key)) return;
    const cycle = above.indexOf(key);
    if (cycle !== -1)
      throw new SkepError(
        'invalid_argument',
        `dependency cycle detected: ${[...above.slice(cycle), key].join(' -> ')}`,
      );
    for (const other of Object.keys(services.get(key)?.depends_on ?? {}).sort())
      if (services.has(other)) visit(other, [...above, key]);
    order.add(key);
  };
  for (const key of [...services.keys()].sort()) visit(key, []);
  return [...order];
}
