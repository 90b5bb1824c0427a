/** The table of skep.* labels: parsing, precedence, and that docs/labels.md is current. */
import { balancePolicy, LB_POLICY_LABEL } from '../../src/model/balance-policy.js';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseDurationMs } from '../../src/model/duration.js';
import { checkLabels } from '../../src/model/labels/check.js';
import {
  AGENT_GRACE_LABEL,
  ENCRYPTION_PORT_LABEL,
  RESCHEDULE_AFTER_LABEL,
} from '../../src/model/labels/keys.js';
import { durationLabelMs, numberLabel } from '../../src/model/labels/read.js';
import { LABELS } from '../../src/model/labels/table.js';
import { labelsPage } from '../../src/model/labels-page.js';
import { packageRoot } from '../testbed/layout.js';
import { LB_RETURN_LABEL, returnPath } from '../../src/model/return-path.js';

void t.test('durations as Go writes them', async (t) => {
  t.equal(parseDurationMs('60s'), 60_000);
  t.equal(parseDurationMs('1m30s'), 90_000);
  t.equal(parseDurationMs('250ms'), 250);
  t.equal(parseDurationMs('1.5h'), 5_400_000);
  t.equal(parseDurationMs('0'), 0);
  for (const text of ['', '5', 's', '-1s', '1s ', '1 s', '1d', 'NaNs']) {
    t.equal(parseDurationMs(text), undefined, text);
  }
});

void t.test('defaults are valid values of their own rows', async (t) => {
  for (const row of LABELS) {
    const [object] = row.objects;
    if (object === undefined || row.value.type !== 'duration' || row.defaultValue === '') continue;
    t.doesNotThrow(() => checkLabels(object, { [row.key]: row.defaultValue }), row.key);
  }
});

void t.test('numbers are in their range', async (t) => {
  t.equal(numberLabel(ENCRYPTION_PORT_LABEL, undefined), 7947);
  t.equal(numberLabel(ENCRYPTION_PORT_LABEL, { [ENCRYPTION_PORT_LABEL]: '9000' }), 9000);
  t.equal(numberLabel(ENCRYPTION_PORT_LABEL, { [ENCRYPTION_PORT_LABEL]: '80' }), 7947);
  for (const value of ['80', '65535', '9000x', '', '-9000']) {
    t.throws(() => checkLabels('node', { [ENCRYPTION_PORT_LABEL]: value }), {
      message: `label skep.encryption.port: must be 1024 to 65534, not ${value}`,
    });
  }
});

void t.test('the nearest object wins; nonsense counts as not set', async (t) => {
  t.equal(durationLabelMs(AGENT_GRACE_LABEL, undefined), 60_000);
  const cluster = { [RESCHEDULE_AFTER_LABEL]: '10s' };
  t.equal(durationLabelMs(RESCHEDULE_AFTER_LABEL, {}, cluster), 10_000);
  t.equal(
    durationLabelMs(RESCHEDULE_AFTER_LABEL, { [RESCHEDULE_AFTER_LABEL]: '1m' }, cluster),
    60_000,
  );
  t.equal(
    durationLabelMs(RESCHEDULE_AFTER_LABEL, { [RESCHEDULE_AFTER_LABEL]: 'x' }, cluster),
    10_000,
  );
});

void t.test('a choice is one of its values', async (t) => {
  t.doesNotThrow(() => checkLabels('service', { [LB_POLICY_LABEL]: 'least-conn' }));
  t.throws(() => checkLabels('service', { [LB_POLICY_LABEL]: 'random' }), {
    message: /skep\.lb\.policy: must be maglev, client-ip, least-conn, local-first, not random/,
  });
  t.equal(balancePolicy({ [LB_POLICY_LABEL]: 'random' }), 'maglev', 'stored by another software');
  t.doesNotThrow(() => checkLabels('service', { [LB_RETURN_LABEL]: 'direct' }));
  t.throws(() => checkLabels('service', { [LB_RETURN_LABEL]: 'dsr' }), {
    message: /skep\.lb\.return: must be tunnel, direct, not dsr/,
  });
  t.equal(returnPath({ [LB_RETURN_LABEL]: 'direct' }), 'direct');
  t.equal(returnPath({ [LB_RETURN_LABEL]: 'dsr' }), 'tunnel', 'stored by another software');
});

void t.test('other keys are nobody else’s business', async (t) => {
  t.doesNotThrow(() => checkLabels('service', { 'com.example.x': '1', skep: 'x' }));
  t.throws(() => checkLabels('secret', { 'skep.x': '1' }), { code: 'invalid_argument' });
});

void t.test('docs/labels.md is what the table says', async (t) => {
  const path = join(packageRoot(), 'docs', 'labels.md');
  if (process.env['SKEP_REWRITE'] === '1') writeFileSync(path, labelsPage());
  t.equal(readFileSync(path, 'utf8'), labelsPage(), 'run with SKEP_REWRITE=1 to print it anew');
});
