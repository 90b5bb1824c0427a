/** What the leader tells beside changes of objects, as Docker events. */
import t from 'tap';
import { Filters } from '../../src/api/filters.js';
import { eventFields, eventMatches, noticeEvent } from '../../src/api/swarm-events.js';
import { Notices } from '../../src/manager/notices.js';

void t.test('a decision of the autoscaler is an event of its service', (t) => {
  const notices = new Notices();
  const lines: unknown[] = [];
  const filters = Filters.parse('{"event":{"autoscale":true},"service":{"web":true}}');
  const unsubscribe = notices.subscribe((notice) => {
    const shown = noticeEvent(notice, 1_500);
    if (eventMatches(shown, filters)) lines.push(eventFields(shown));
  });
  const notice = {
    action: 'autoscale',
    serviceId: 'id1',
    serviceName: 'web',
    attributes: { 'replicas.old': '1', 'replicas.new': '2', 'dry-run': 'true' },
  } as const;
  notices.tell(notice);
  notices.tell({ ...notice, serviceId: 'id2', serviceName: 'other' });
  unsubscribe();
  notices.tell(notice);
  t.match(lines, [
    {
      Type: 'service',
      Action: 'autoscale',
      Actor: { ID: 'id1' },
      scope: 'swarm',
      timeNano: 1_500_000_000n,
    },
  ]);
  t.equal(lines.length, 1);
  t.end();
});
