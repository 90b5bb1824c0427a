/** A manager's state made into a cluster of its own: nothing known is lost, nobody else is a member. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemEnvironment } from '../../src/observe/system-environment.js';
import { createSoleMember, forceSoleMember } from '../../src/store/sole-member.js';
import { openStorage } from '../../src/store/wal/raft-storage.js';
import { task } from './objects.js';
import { bootstrap, openLeader, stateDirectory, TEST_KEYS } from './state-directory.js';

const SOLE = {
  environment: systemEnvironment,
  nodeId: 'node1',
  address: '10.0.0.1:2377',
  change: () => undefined,
};

void t.test('what the log holds stays, also what was not known to be agreed upon', async (t) => {
  const directory = stateDirectory(t);
  const options = { directory, keys: TEST_KEYS };
  const oldId = await bootstrap(directory);
  const node = await openLeader(directory, { snapshotIntervalEntries: 30 });
  for (let at = 0; at < 50; at++)
    await node.store.update((write) => write.create('task', task(`t${at}`, 's')));
  await node.addMember({ raftId: 77, nodeId: 'node2', address: '10.0.0.2:2377' }, 'learner');
  const versionBefore = node.store.version();
  await node.close();

  await forceSoleMember(options, {
    ...SOLE,
    change: (write, raftId) => write.create('task', task(`made-for-${raftId}`, 's')),
  });
  const alone = await openLeader(directory);
  const { id, conf } = alone.status();
  t.not(id, oldId, 'its old raft id is never used again');
  t.same(conf, { voters: [id], learners: [] });
  t.same(alone.members(), [{ raftId: id, nodeId: 'node1', address: '10.0.0.1:2377' }]);
  const tasks = alone.store.view((read) => read.find('task', { by: 'all' }));
  t.equal(tasks.length, 51);
  t.ok(tasks.some((known) => known.id === `made-for-${id}`));
  t.ok(alone.store.version() > versionBefore, 'versions of objects never go back');
  await alone.store.update((write) => write.create('task', task('later', 's')));
  await alone.close();
  t.same(existsSync(`${directory}.replaced`), false);
});

void t.test('an interrupted replacement: the old state or the new one', async (t) => {
  const directory = stateDirectory(t);
  const options = { directory, keys: TEST_KEYS };
  await bootstrap(directory);
  const node = await openLeader(directory);
  await node.store.update((write) => write.create('task', task('t', 's')));
  const state = await node.knownState();
  await node.close();

  // Before the old one was moved away: it counts.
  await createSoleMember({ ...options, directory: `${directory}.sole` }, state, SOLE);
  const old = await openLeader(directory);
  t.equal(old.store.count('task'), 1);
  const oldId = old.status().id;
  await old.close();
  t.notOk(existsSync(`${directory}.sole`));

  // After it: the new one is put in place.
  await createSoleMember({ ...options, directory: `${directory}.sole` }, state, SOLE);
  renameSync(directory, `${directory}.replaced`);
  const next = await openLeader(directory);
  t.equal(next.store.count('task'), 1);
  t.not(next.status().id, oldId);
  await next.close();
  t.notOk(existsSync(`${directory}.replaced`));
});

void t.test('state that cannot be read is left as it is', async (t) => {
  const directory = stateDirectory(t);
  await bootstrap(directory);
  const wrong = [{ keyId: 1, key: new Uint8Array(32) }];
  await t.rejects(forceSoleMember({ directory, keys: wrong }, SOLE), { code: 'permission_denied' });
  const failing = {
    ...SOLE,
    change: () => {
      throw new Error('no');
    },
  };
  await t.rejects(forceSoleMember({ directory, keys: TEST_KEYS }, failing), { message: 'no' });
  // Left by a crash while it was written.
  mkdirSync(`${directory}.sole.new`);
  writeFileSync(join(`${directory}.sole.new`, 'x'), '');
  await forceSoleMember({ directory, keys: TEST_KEYS }, SOLE);
  const storage = await openStorage({ directory, keys: TEST_KEYS }, (error) =>
    t.fail(String(error)),
  );
  await storage.close();
});
