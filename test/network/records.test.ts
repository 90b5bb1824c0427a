/** What is believed of other nodes' peer records. */
import t from 'tap';
import { decodePeer, encodePeer, type PeerValue } from '../../src/network/records.js';

const PEER: PeerValue = {
  address: '10.0.1.5',
  prefixLength: 24,
  mac: '02:42:0a:00:01:05',
  tunnelAddress: '192.0.2.1',
};

void t.test('tunnels of both families, in one form', async (t) => {
  for (const [announced, read] of [
    ['192.0.2.1', '192.0.2.1'],
    ['fd00:77::11', 'fd00:77::11'],
    ['FD00:77:0:0::11', 'fd00:77::11'],
    ['', undefined],
    ['127.0.0.1', undefined],
    ['224.0.0.1', undefined],
    ['::', undefined],
    ['::1', undefined],
    ['fe80::1', undefined],
    ['ff02::1', undefined],
    ['::ffff:c000:201', undefined],
    ['fd00::1/64', undefined],
    ['fd00::1%eth0', undefined],
  ] as const) {
    const peer = decodePeer(encodePeer({ ...PEER, tunnelAddress: announced }));
    t.equal(peer?.tunnelAddress, read, announced);
  }
});

void t.test('garbage is nobody', async (t) => {
  t.equal(decodePeer(Buffer.from('ff'.repeat(40), 'hex')), undefined);
  t.equal(decodePeer(encodePeer({ ...PEER, mac: 'x' })), undefined);
});
