/** Labels about what containers get that service specs leave out. */
import {
  CONTAINER_ALLOW_LABEL,
  CONTAINER_SETTINGS,
  containerSettingLabel,
} from '../container-settings.js';
import { ENGINE_SOCKET_LABEL } from '../engine-socket.js';
import type { LabelDefinition } from './definition.js';

/** Its rows of the table. */
export const CONTAINER_LABELS: readonly LabelDefinition[] = [
  {
    key: ENGINE_SOCKET_LABEL,
    objects: ['service', 'container'],
    value: { type: 'choice', choices: ['true', 'false'] },
    defaultValue: 'false',
    live: false,
    meaning:
      'Whether a bind of the engine\u2019s socket (`/var/run/docker.sock`) really gets it. Otherwise ' +
      'skepd\u2019s socket is bound in its place, through which the container sees the swarm.',
  },
  {
    key: CONTAINER_ALLOW_LABEL,
    objects: ['cluster'],
    value: { type: 'settings' },
    defaultValue: '',
    live: true,
    meaning:
      'Which of the following settings services may have: their names without the prefix, separated by ' +
      'commas, or `all`. Not set: none. See [Container settings](#container-settings).',
  },
  ...CONTAINER_SETTINGS.map(
    (setting): LabelDefinition => ({
      key: containerSettingLabel(setting),
      objects: ['service', 'container'],
      value: { type: 'setting', setting },
      defaultValue: '',
      live: false,
      meaning: setting.meaning,
    }),
  ),
];
