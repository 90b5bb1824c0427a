/**
 * What operators see of the data path, before it reaches them.
 */
import t from 'tap';
import { RecordingDatapath } from '../../src/native/recording-datapath.js';
import { DatapathSight, type SightParts } from '../../src/network/sight.js';

void t.test('a trace of a published port follows what containers call that port', (t) => {
  const datapath = new RecordingDatapath();
  const sight = new DatapathSight({ datapath } as unknown as SightParts);
  datapath.putServices([
    {
      key: { kind: 'published', port: 8000, protocol: 'tcp' },
      targetPort: 80,
      backends: [],
    },
    {
      key: { kind: 'published', port: 20_000, protocol: 'tcp' },
      targetPort: 30_000,
      ports: 100,
      backends: [],
    },
  ]);
  const filter = { address: '192.0.2.7', protocol: 6, durationMs: 1000 };
  const followed = (port: number) => {
    const ended = new AbortController();
    ended.abort();
    const one = new DatapathSight({ datapath } as unknown as SightParts);
    one.trace({ ...filter, port }, ended.signal);
    return datapath.calls.at(-1);
  };
  t.equal(followed(8000), 'startTrace 192.0.2.7 8000,80');
  t.equal(followed(20_099), 'startTrace 192.0.2.7 20099,30099', 'in a range');
  t.equal(followed(20_100), 'startTrace 192.0.2.7 20100', 'no published port');
  t.equal(followed(0), 'startTrace 192.0.2.7 0', 'any port');
  t.throws(() => {
    sight.trace({ ...filter, port: 1 }, new AbortController().signal);
    sight.trace({ ...filter, port: 1 }, new AbortController().signal);
  }, 'one at a time');
  t.end();
});
