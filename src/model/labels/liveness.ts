/** Labels about when a silent node counts as down, and what follows. */
import { HOUR_MS } from '../duration.js';
import type { LabelDefinition } from './definition.js';
import {
  AGENT_GRACE_LABEL,
  AGENT_VERSION_LABEL,
  FENCE_AFTER_LABEL,
  RESCHEDULE_AFTER_LABEL,
} from './keys.js';

/** Its rows of the table. */
export const LIVENESS_LABELS: readonly LabelDefinition[] = [
  {
    key: AGENT_VERSION_LABEL,
    objects: ['engine'],
    value: { type: 'text' },
    defaultValue: '',
    live: true,
    meaning:
      'Version of the skepd on the node, told by itself. Nodes without it run a stock engine.',
  },
  {
    key: AGENT_GRACE_LABEL,
    objects: ['cluster'],
    value: { type: 'duration', minMs: 1_000, maxMs: HOUR_MS },
    defaultValue: '60s',
    live: true,
    meaning:
      'How long a node whose data path still answers may be without an agent before its tasks ' +
      'are started elsewhere.',
  },
  {
    key: FENCE_AFTER_LABEL,
    objects: ['cluster'],
    value: { type: 'duration', minMs: 1_000, maxMs: HOUR_MS },
    defaultValue: '30s',
    live: true,
    meaning:
      'How long a node may reach neither a manager nor half of the other nodes before it takes its ' +
      'containers off the swarm\u2019s networks. Addresses of tasks that were lost with their node are ' +
      'not given out again for twice that, and for 15 s more than it at least.',
  },
  {
    key: RESCHEDULE_AFTER_LABEL,
    objects: ['cluster', 'service'],
    value: { type: 'duration', minMs: 0, maxMs: HOUR_MS },
    defaultValue: '4s',
    live: true,
    meaning:
      'How long a node must be silent before it counts as down and its tasks are started elsewhere; ' +
      'on a service, how long before its own tasks are, if that is longer.',
  },
];
