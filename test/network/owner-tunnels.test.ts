/**
 * Tunnels of other nodes by owner, over a restart: what leads only to removed nodes is known.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { LocalState } from '../../src/network/local-state.js';
import { OwnerTunnels } from '../../src/network/owner-tunnels.js';

const GONE = new Set(['gone']);

function announcing(entries: Record<string, readonly string[]>) {
  return { tunnelsByOwner: () => new Map(Object.entries(entries)) };
}

void t.test('a node that was removed while its tunnels were not announced', async (t) => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-tunnels-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = path.join(directory, 'network.json');
  const before = new LocalState(file);
  const all = { gone: ['192.0.2.2'], other: ['192.0.2.3'] };
  t.ok(new OwnerTunnels(before, announcing(all)).remember(false));
  t.notOk(new OwnerTunnels(before, announcing(all)).remember(false), 'nothing new');
  await before.save();

  const after = new LocalState(file);
  await after.load();
  const tunnels = new OwnerTunnels(after, announcing({ other: ['192.0.2.3'] }));
  t.notOk(tunnels.remember(true), 'the tables may not be full yet');
  t.ok(tunnels.ledOnlyTo(GONE, '192.0.2.2'));
  t.notOk(tunnels.ledOnlyTo(GONE, '192.0.2.3'), 'another node');
  t.notOk(tunnels.ledOnlyTo(GONE, '192.0.2.4'), 'nobody known');

  const again = announcing({ other: ['192.0.2.3'], rejoined: ['192.0.2.2'] });
  const rejoined = new OwnerTunnels(after, again);
  t.ok(rejoined.remember(true));
  t.notOk(rejoined.ledOnlyTo(GONE, '192.0.2.2'), 'its host has joined under another id');
  t.ok(rejoined.remember(false));
  t.same([...after.ownerTunnels.keys()], ['other', 'rejoined'], 'what left is forgotten');
});
