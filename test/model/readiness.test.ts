/** The `skep.readiness` labels: what they mean, and what is refused. */
import t from 'tap';
import { checkLabels } from '../../src/model/labels/check.js';
import {
  namesReadiness,
  parseHttpTarget,
  readiness,
  readinessText,
} from '../../src/model/readiness.js';

void t.test('no probe, no readiness', async (t) => {
  t.equal(readiness(undefined), undefined);
  t.equal(readiness({ 'skep.readiness.interval': '1s' }), undefined);
  t.ok(namesReadiness({ 'skep.readiness.interval': '1s' }));
  t.notOk(namesReadiness({ 'skep.lb.policy': 'maglev' }));
  t.equal(readinessText(undefined), '');
});

void t.test('defaults, and what each label says', async (t) => {
  t.same(readiness({ 'skep.readiness.tcp': '80' }), {
    ...{ command: undefined, http: undefined, tcpPort: 80 },
    ...{ intervalMs: 5000, timeoutMs: 3000, retries: 3, startPeriodMs: undefined },
  });
  const labels = {
    'skep.readiness.cmd': 'test -e /tmp/ok',
    'skep.readiness.http': ':8080/ready?deep=1',
    'skep.readiness.interval': '500ms',
    'skep.readiness.timeout': '1s',
    'skep.readiness.retries': '1',
    'skep.readiness.start-period': '1m',
  };
  t.doesNotThrow(() => checkLabels('service', labels));
  t.same(readiness(labels), {
    command: 'test -e /tmp/ok',
    http: { port: 8080, path: '/ready?deep=1' },
    tcpPort: undefined,
    ...{ intervalMs: 500, timeoutMs: 1000, retries: 1, startPeriodMs: 60_000 },
  });
});

void t.test(
  'what is out of bounds is refused, and counts as not set if stored all the same',
  async (t) => {
    const probe = { 'skep.readiness.tcp': '80' };
    for (const [key, value] of [
      ['tcp', '0'],
      ['tcp', '65536'],
      ['http', '8080/ready'],
      ['http', ':0/'],
      ['http', ':80/a b'],
      ['http', ':80/#x'],
      ['http', ':80/x\r\nHost: y'],
      ['cmd', ' '],
      ['cmd', 'x'.repeat(4097)],
      ['interval', '100ms'],
      ['timeout', '1h'],
      ['retries', '0'],
      ['start-period', '0'],
    ] as const) {
      const labels = { [`skep.readiness.${key}`]: value };
      t.throws(() => checkLabels('service', labels), { code: 'invalid_argument' }, key);
      t.equal(
        readinessText(readiness({ ...probe, ...labels })),
        readinessText(readiness(key === 'tcp' ? labels : probe)),
      );
    }
    t.throws(() => checkLabels('service', { 'skep.readiness.https': ':443/' }), /unknown label/);
    t.throws(() => checkLabels('node', probe), /cannot be set on a node/);
    t.same(parseHttpTarget(':80'), { port: 80, path: '/' });
  },
);
