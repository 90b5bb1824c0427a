/** What skepd writes itself, on objects of a stack and on networks of the engine. */
import type { LabelDefinition } from './definition.js';
import { VERSION_OF_LABEL } from './keys.js';

/** Its rows of the table. */
export const SKEPD_LABELS: readonly LabelDefinition[] = [
  {
    key: VERSION_OF_LABEL,
    objects: ['secret', 'config'],
    value: { type: 'text' },
    defaultValue: '',
    live: true,
    meaning:
      'Set by `skep stack deploy` on a later version of a secret or config: the name of the first. ' +
      'Only what has this label and that of the stack is taken for a version, and removed once unused.',
  },
  {
    key: 'skep.network.id',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: '',
    live: false,
    meaning: 'Id of the swarm network that a network on the engine stands for. Set by skepd.',
  },
  {
    key: 'skep.network.vni',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: '',
    live: false,
    meaning: 'Its VXLAN identifier, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.ingress',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether it is the ingress network, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.encrypted',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether its packets are encrypted, as a driver option. Set by skepd.',
  },
  {
    key: 'skep.network.attachable',
    objects: ['engine network'],
    value: { type: 'text' },
    defaultValue: 'false',
    live: false,
    meaning: 'Whether plain containers may join it, as a driver option. Set by skepd.',
  },
];
