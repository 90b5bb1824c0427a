/** Changes of the store as Docker events. */
import t from 'tap';
import { Filters } from '../../src/api/filters.js';
import { eventFields, eventMatches, swarmEventOf } from '../../src/api/swarm-events.js';
import {
  removeScaleRecord,
  type ScaleRecord,
  writeScaleRecord,
} from '../../src/manager/orchestrator/scale-record.js';
import { testControl } from '../manager/control/support.js';

void t.test('each decision of the autoscaler is an event of its service', async (t) => {
  const { store } = await testControl();
  const lines: unknown[] = [];
  const filters = Filters.parse('{"event":{"autoscale":true},"service":{"web":true}}');
  store.subscribe((changes) => {
    for (const change of changes) {
      const shown = swarmEventOf(change, 0);
      if (shown !== undefined && eventMatches(shown, filters)) lines.push(eventFields(shown));
    }
  });
  const decide = (record: ScaleRecord) => store.update((write) => writeScaleRecord(write, record));
  const attributes = { 'replicas.old': '1', 'replicas.new': '2', 'dry-run': 'true' };
  const record = { serviceId: 'id1', serviceName: 'web', attributes };
  await decide(record);
  await decide({ ...record, serviceId: 'id2', serviceName: 'other' });
  await decide(record);
  await store.update((write) => removeScaleRecord(write, 'id1'));
  await store.update((write) => removeScaleRecord(write, 'none'));
  const line = { Type: 'service', Action: 'autoscale', scope: 'swarm' };
  const Actor = { ID: 'id1', Attributes: { name: 'web', ...attributes } };
  t.match(lines, [
    { ...line, Actor },
    { ...line, Actor },
  ]);
  t.equal(lines.length, 2, 'the same decision again is told again');
});
