/**
 * Everything Skep keeps in labels because Swarm's schema has no field for it: one table of keys,
 * with the objects they belong on, their values and defaults. Keys that start with `skep.` and are
 * not here are refused, so that a typing error cannot pass for a setting. docs/labels.md is
 * printed from this table (labels-page.ts).
 */
import { fixedAddressLabel } from '../fixed-addresses.js';
import { publishLabel } from '../publish-rules.js';
import type { LabelDefinition } from './definition.js';
import { CONTAINER_LABELS } from './containers.js';
import { LIVENESS_LABELS } from './liveness.js';
import { ORCHESTRATION_LABELS } from './orchestration.js';
import { READINESS_LABELS } from './readiness.js';
import { SKEPD_LABELS } from './skepd.js';
import { TRAFFIC_LABELS } from './traffic.js';

/** The table. */
export const LABELS: readonly LabelDefinition[] = [
  ...LIVENESS_LABELS,
  ...ORCHESTRATION_LABELS,
  ...TRAFFIC_LABELS,
  ...READINESS_LABELS,
  ...CONTAINER_LABELS,
  ...SKEPD_LABELS,
];

const BY_KEY = new Map(LABELS.map((definition) => [definition.key, definition]));

/** The row of a key, or undefined. */
export function labelDefinition(key: string): LabelDefinition | undefined {
  const publish = publishLabel(key);
  if (publish !== undefined) return BY_KEY.get(`skep.publish.<port>.${publish.kind}`);
  const fixed = fixedAddressLabel(key);
  return BY_KEY.get(fixed === undefined ? key : `skep.${fixed.kind}.<network>`);
}
