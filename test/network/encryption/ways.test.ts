/** Which keys are used with which, and who keeps a tunnel address two nodes have chosen. */
import t from 'tap';
import type { KeyGeneration, NodeKeys } from '../../../src/network/encryption/key-record.js';
import {
  isWireguardTunnel,
  privateKeyFrom,
  publicKeyOf,
  TUNNEL_NUMBER_MAX,
  tunnelAddress,
  tunnelNumber,
} from '../../../src/network/encryption/keys.js';
import { chooseWays, wantedPeers, withoutClashes } from '../../../src/network/encryption/ways.js';

const OLD: KeyGeneration = { number: 4n, publicKey: 'old', port: 7947 };
const NEW: KeyGeneration = { number: 5n, publicKey: 'new', port: 7948 };

function peer(nodeId: string, tunnel: number, ...generations: readonly KeyGeneration[]): NodeKeys {
  return {
    ...{ nodeId, tunnel, generations, sequence: 1n, expiresMs: 0 },
    underlayAddress: '192.0.2.9',
  };
}

void t.test('keys are those of RFC 7748', async (t) => {
  t.throws(() => privateKeyFrom(new Uint8Array(31)), 'too short');
  // Section 5.2, the first iteration: scalar 9 and the base point.
  const nine = privateKeyFrom(Uint8Array.from({ length: 32 }, (_, at) => (at === 0 ? 9 : 0)));
  t.equal(
    Buffer.from(publicKeyOf(nine)).toString('hex'),
    '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079',
  );
});

void t.test('tunnel addresses are a pair a node, and nobody else’s', async (t) => {
  t.equal(tunnelAddress(1, 2n), '240.0.0.2');
  t.equal(tunnelAddress(1, 3n), '240.0.0.3');
  t.equal(tunnelAddress(TUNNEL_NUMBER_MAX, 1n), '255.255.255.255');
  t.ok(isWireguardTunnel('240.0.0.0'));
  t.notOk(isWireguardTunnel('192.0.2.1'));
  const first = tunnelNumber('a', 0);
  t.equal(tunnelNumber('a', 0), first);
  t.not(tunnelNumber('a', 1), first);
});

void t.test('a new key is used once it has a session', async (t) => {
  const own = { number: 7n, established: new Set(['old']) };
  const peers = [peer('b', 9, OLD, NEW)];
  t.equal(chooseWays([own], 1, peers).tunnels.get('b'), tunnelAddress(9, 4n), 'the old one works');
  const both = { ...own, established: new Set(['old', 'new']) };
  t.equal(chooseWays([both], 1, peers).tunnels.get('b'), tunnelAddress(9, 5n));
  const none = { ...own, established: new Set<string>() };
  t.equal(chooseWays([none], 1, peers).tunnels.get('b'), tunnelAddress(9, 4n), 'none works yet');
  t.same(chooseWays([], 1, peers).rows, []);
});

void t.test(
  'of own keys the newest with a session is used, for each key of the peer',
  async (t) => {
    const own = [
      { number: 6n, established: new Set(['old', 'new']) },
      { number: 7n, established: new Set(['new']) },
    ];
    const { rows } = chooseWays(own, 1, [peer('b', 9, OLD, NEW)]);
    t.same(rows, [
      {
        tunnelAddress: tunnelAddress(9, 4n),
        interfaceName: 'sw-wg0',
        source: tunnelAddress(1, 6n),
        underlayAddress: '192.0.2.9',
      },
      {
        tunnelAddress: tunnelAddress(9, 5n),
        interfaceName: 'sw-wg1',
        source: tunnelAddress(1, 7n),
        underlayAddress: '192.0.2.9',
      },
    ]);
    t.same(
      wantedPeers([peer('b', 9, OLD, NEW)]).map(({ endpoint }) => endpoint),
      ['192.0.2.9:7947', '192.0.2.9:7948'],
    );
  },
);

void t.test('the lowest id keeps a pair of addresses', async (t) => {
  const peers = [peer('a', 5, OLD), peer('b', 5, OLD), peer('c', 6, OLD)];
  const names = (rows: readonly NodeKeys[]) => rows.map(({ nodeId }) => nodeId);
  const other = withoutClashes('m', 7, peers);
  t.same(names(other.peers), ['a', 'c']);
  t.notOk(other.mustMove);
  const lower = withoutClashes('0', 5, peers);
  t.same(names(lower.peers), ['c'], 'ours stays');
  t.notOk(lower.mustMove);
  const higher = withoutClashes('z', 6, peers);
  t.same(names(higher.peers), ['a', 'c']);
  t.ok(higher.mustMove);
});
