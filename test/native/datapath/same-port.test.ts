/**
 * A container that holds a TCP connection through a virtual address and opens one to the same task's own
 * address from the same port: for the task both are one tuple. It is told at once, and may try again.
 */
import t from 'tap';
import { waitFor } from '../../testbed/commands.js';
import { startCluster, TARGET_PORT, VIP, VIP6 } from './cluster.js';
import { World } from './world.js';

// Far above what it takes: the machine may be busy with other things.
t.setTimeout(300_000);

const ADDRESSES = {
  4: { virtual: VIP, 'web-a': '10.0.1.11', 'web-b': '10.0.1.12' },
  6: { virtual: VIP6, 'web-a': 'fd00:10:0:2::b', 'web-b': 'fd00:10:0:2::c' },
} as const;
const OVER_MS = 5000;
/** Which task answers is up to a hash of the client's port. */
const PORTS_MAX = 64;

await t.test('one port for a service and for its task', async (t) => {
  const world = new World();
  t.teardown(async () => await world.close());
  const { a, plainA } = await startCluster(world);
  let localPort = 41_000;
  for (const family of [4, 6] as const) {
    for (const name of ['web-a', 'web-b'] as const) {
      await t.test(`IPv${family}, ${name === 'web-a' ? 'here' : 'on another node'}`, async (t) => {
        const addresses = ADDRESSES[family];
        const port = TARGET_PORT;
        const first = localPort;
        let seen = '';
        for (; seen !== name && localPort < first + PORTS_MAX; localPort += 1) {
          await plainA.call('stopStream');
          const target = { host: addresses.virtual, port, localPort };
          seen = ((await plainA.call('startStream', target)) as { name: string }).name;
        }
        t.equal(seen, name);
        const own = localPort - 1;
        const task = { host: addresses[name], port };
        const before = await a.counters();
        await t.rejects(plainA.askTcp({ ...task, localPort: own }), { code: 'ECONNREFUSED' });
        const after = await a.counters();
        t.equal((after['reset-sent'] ?? 0) - (before['reset-sent'] ?? 0), 1, 'by one reset');
        t.equal((await plainA.askTcp(task)).name, name, 'from another port');
        const other = name === 'web-a' ? 'web-b' : 'web-a';
        const elsewhere = { host: addresses[other], port, localPort: own };
        t.equal((await plainA.askTcp(elsewhere)).name, other, 'the same port, another task');
        const { failure, answered } = await plainA.tally();
        t.equal(failure, undefined);
        t.ok(answered > 0, 'the connection through the service knows nothing of it');
        await plainA.call('stopStream');
        // Its end takes a moment: both sides have to say so.
        const answer = await waitFor('the port to be free', OVER_MS, async () =>
          plainA.askTcp({ ...task, localPort: own }).catch(() => undefined),
        );
        t.equal(answer.name, name, 'once it is over');
      });
    }
  }
});
