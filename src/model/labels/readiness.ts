/** Labels about which tasks have traffic. */
import {
  READINESS_CMD_LABEL,
  READINESS_HTTP_LABEL,
  READINESS_INTERVAL_LABEL,
  READINESS_INTERVAL_MS,
  READINESS_RETRIES,
  READINESS_RETRIES_LABEL,
  READINESS_START_PERIOD_LABEL,
  READINESS_START_PERIOD_MS,
  READINESS_TCP_LABEL,
  READINESS_TIMEOUT_LABEL,
  READINESS_TIMEOUT_MS,
} from '../readiness.js';
import type { LabelDefinition } from './definition.js';

/** Its rows of the table. */
export const READINESS_LABELS: readonly LabelDefinition[] = [
  {
    key: READINESS_CMD_LABEL,
    objects: ['service'],
    value: { type: 'command' },
    defaultValue: '',
    live: true,
    meaning:
      'A probe of whether a task may have traffic: the command runs in its container, as one of ' +
      '`HEALTHCHECK CMD-SHELL` does, and must end with 0. See [Readiness](#readiness).',
  },
  {
    key: READINESS_HTTP_LABEL,
    objects: ['service'],
    value: { type: 'http' },
    defaultValue: '',
    live: true,
    meaning:
      'A probe: `GET` of this path, at the task\u2019s own address and in its network namespace, must ' +
      'be answered with a status from 200 to 399.',
  },
  {
    key: READINESS_TCP_LABEL,
    objects: ['service'],
    value: { type: 'number', min: 1, max: 65_535 },
    defaultValue: '',
    live: true,
    meaning: 'A probe: this port must take a TCP connection there.',
  },
  {
    key: READINESS_INTERVAL_LABEL,
    objects: ['service'],
    value: {
      type: 'duration',
      minMs: READINESS_INTERVAL_MS.min,
      maxMs: READINESS_INTERVAL_MS.max,
    },
    defaultValue: '5s',
    live: true,
    meaning: 'From the end of one look at a task to the next.',
  },
  {
    key: READINESS_TIMEOUT_LABEL,
    objects: ['service'],
    value: { type: 'duration', minMs: READINESS_TIMEOUT_MS.min, maxMs: READINESS_TIMEOUT_MS.max },
    defaultValue: '3s',
    live: true,
    meaning: 'How long a probe may take; a command that takes longer is killed.',
  },
  {
    key: READINESS_RETRIES_LABEL,
    objects: ['service'],
    value: { type: 'number', min: READINESS_RETRIES.min, max: READINESS_RETRIES.max },
    defaultValue: '3',
    live: true,
    meaning: 'Looks in a row that must fail before a task is out of traffic.',
  },
  {
    key: READINESS_START_PERIOD_LABEL,
    objects: ['service'],
    value: {
      type: 'duration',
      minMs: READINESS_START_PERIOD_MS.min,
      maxMs: READINESS_START_PERIOD_MS.max,
    },
    defaultValue: '',
    live: true,
    meaning:
      'How long a new task has for its first success; then it fails, as one that never became ' +
      'healthy does, and an update takes its failure action. Not set: as long as it takes.',
  },
];
