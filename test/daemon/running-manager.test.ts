/** Managers as a group, over real TLS, disks and raft: joining, writing, losing and removing them. */
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { FORGET_DELAY_MS } from '../../src/manager/group/limits.js';
import { ConfigSpecSchema } from '../../src/model/gen/docker/swarmkit/v1/specs_pb.js';
import { RaftMemberStatus_Reachability as Reachability } from '../../src/model/gen/docker/swarmkit/v1/types_pb.js';
import { RAFT_PROTOCOL } from '../../src/rpc/raft/limits.js';
import { testIdentity } from '../rpc/test-cluster.js';
import { freeAddress, type TestManager, TestManagers, until } from './support/test-managers.js';

async function writeConfig(manager: TestManager, name: string): Promise<string> {
  const spec = create(ConfigSpecSchema, { annotations: { name }, data: Buffer.from(name) });
  return (await manager.running.access.control.createConfig(spec)).id;
}

function configNames(manager: TestManager): readonly string[] {
  const configs = manager.running.access.control.listConfigs();
  return configs.map(({ spec }) => spec?.annotations?.name ?? '').sort();
}

void t.test('managers join, and each of them takes writes', async (t) => {
  const managers = await TestManagers.start(t);
  const all = await managers.three();
  const [first] = all;
  t.same(first.raft.status().conf.voters.length, 3);
  for (const [at, manager] of all.entries()) await writeConfig(manager, `from-${at}`);
  for (const manager of all) {
    await manager.running.access.agreed();
    t.same(configNames(manager), ['from-0', 'from-1', 'from-2']);
    t.ok(manager.running.isReady());
  }
  t.equal(all[1].raft.store.stateHash(), first.raft.store.stateHash(), 'states are equal');
  await t.rejects(
    writeConfig(all[2], 'from-0'),
    { code: 'already_exists' },
    'refusals come through as they are',
  );
  await until('reachability in the store', () => {
    const nodes = all[2].running.access.control.listNodes();
    return (
      nodes.filter(({ managerStatus }) => managerStatus?.reachability === Reachability.REACHABLE)
        .length === 3
    );
  });
  const leaders = all[2].running.access.control
    .listNodes()
    .filter(({ managerStatus }) => managerStatus?.leader === true);
  t.equal(leaders.length, 1);
});

void t.test('a lost leader loses no acknowledged write, and comes back', async (t) => {
  const managers = await TestManagers.start(t);
  const [first, second, third] = await managers.three();
  for (let at = 0; at < 20; at++) await writeConfig(third, `w${String(at).padStart(2, '0')}`);
  await first.running.stop();
  await writeConfig(third, 'w20');
  t.equal(configNames(third).length, 21);
  t.ok(second.raft.isLeader || third.raft.isLeader);
  const again = await managers.open(first.nodeId, first.address, first.tls);
  await again.running.start();
  await again.running.access.agreed();
  t.same(configNames(again), configNames(third));
});

void t.test('without a quorum requests say so', async (t) => {
  const managers = await TestManagers.start(t);
  const [first, second, third] = await managers.three();
  await Promise.all([first.running.stop(), second.running.stop()]);
  await t.rejects(third.running.access.agreed(500), {
    message: /^The swarm does not have a leader\./,
  });
});

void t.test('who does not answer, or is not to be a manager, does not get in', async (t) => {
  const managers = await TestManagers.start(t);
  const first = await managers.found();
  await managers.addNode('silent', first);
  const candidate = { raftId: 77, nodeId: 'silent', address: '127.0.0.1:1' };
  await t.rejects(first.running.group.admit(candidate), {
    code: 'failed_precondition',
    message: /could not connect to prospective new cluster member/,
  });
  const other = await managers.candidate('other', first);
  const asOther = { raftId: 78, nodeId: 'other', address: other.address };
  await t.rejects(
    first.running.group.admit(asOther),
    { message: /raft member \d+ answers there instead of 78/ },
    'another raft id than it has',
  );
  await t.rejects(
    first.running.group.admit({ ...asOther, nodeId: 'silent' }),
    { message: /node other answers there instead of silent/ },
    'another node than it is',
  );
  t.same(first.raft.members().length, 1);
});

void t.test(
  'a newcomer that is refused leaves nothing behind, one that was here stays',
  async (t) => {
    const managers = await TestManagers.start(t);
    const first = await managers.found();
    const isListed = (nodeId: string): boolean =>
      first.raft.store.view((read) => read.get('node', nodeId)) !== undefined;
    for (const [nodeId, isNew] of [
      ['newcomer', true],
      ['promoted', false],
    ] as const) {
      const silent = await managers.silent(nodeId, first);
      await t.rejects(silent.running.join(first.address, isNew), {
        message: /could not connect to prospective new cluster member/,
      });
      if (isNew) await until('the newcomer to be forgotten', () => !isListed(nodeId));
      else await sleep(4 * FORGET_DELAY_MS);
      t.equal(isListed(nodeId), !isNew, nodeId);
    }
    t.same(first.raft.members().length, 1);
  },
);

void t.test('a manager that lost its log comes back under another raft id', async (t) => {
  const managers = await TestManagers.start(t);
  const [first, second] = await managers.three();
  const oldId = second.raft.status().id;
  await second.running.stop();
  rmSync(join(second.directory, 'raft'), { recursive: true });
  const again = await managers.open(second.nodeId, second.address, second.tls);
  await again.running.start();
  t.notOk(again.running.isMember);
  await again.running.join(first.address, false);
  const ids = first.raft.members().map(({ raftId }) => raftId);
  t.equal(ids.length, 3);
  t.notOk(ids.includes(oldId));
  t.ok(ids.includes(again.raft.status().id));
});

void t.test('a manager that speaks from another address is followed there', async (t) => {
  const managers = await TestManagers.start(t);
  const [first, second, third] = await managers.three();
  const raftId = third.raft.status().id;
  await third.running.stop();
  const moved = await managers.open(third.nodeId, await freeAddress(), third.tls);
  await moved.running.start();
  t.equal(moved.raft.status().id, raftId);
  const addressOf = (manager: TestManager): string | undefined =>
    manager.raft.members().find((member) => member.raftId === raftId)?.address;
  await until('the others to know', () =>
    [first, second].every((manager) => addressOf(manager) === moved.address),
  );
  await writeConfig(moved, 'from-elsewhere');
  t.same(configNames(moved), ['from-elsewhere']);
});

void t.test('removal keeps a quorum of those that answer, and the leader hands over', async (t) => {
  const managers = await TestManagers.start(t);
  const [first, second, third] = await managers.three();
  await third.running.stop();
  const { leader, other } = await leading(first, second);
  await until('the loss to show', () => !leader.running.group.canRemove(other.nodeId));
  await t.rejects(leader.running.group.remove(other.raft.status().id), {
    message: /this would result in a loss of quorum/,
  });
  t.ok(leader.running.group.canRemove(third.nodeId));
  await leader.running.group.remove(third.raft.status().id);
  await t.rejects(leader.running.group.remove(leader.raft.status().id), {
    message: /leadership is being handed over/,
  });
  await until('the other to lead', () => other.raft.isLeader);
  await other.running.group.remove(leader.raft.status().id);
  t.same(
    other.raft.members().map(({ nodeId }) => nodeId),
    [other.nodeId],
  );
});

/** Which of two leads; a busy machine may have had an election. */
async function leading(
  one: TestManager,
  two: TestManager,
): Promise<{ readonly leader: TestManager; readonly other: TestManager }> {
  await until('a leader', () => one.raft.isLeader || two.raft.isLeader);
  return one.raft.isLeader ? { leader: one, other: two } : { leader: two, other: one };
}

void t.test('a raft stream is for managers of this swarm', async (t) => {
  const managers = await TestManagers.start(t);
  const first = await managers.found();
  const [host = '', port = ''] = first.address.split(':');
  const isOpenTo = async (role: 'worker' | 'manager', bytes: Buffer): Promise<boolean> => {
    const tls = await testIdentity(managers.founding, 'someone', role);
    const socket = connect({
      host,
      port: Number(port),
      ca: tls.rootCaPem,
      cert: tls.certificatePem,
      key: tls.privateKeyPem,
      servername: 'swarm-manager',
      ALPNProtocols: [RAFT_PROTOCOL],
    });
    socket.write(bytes);
    return await new Promise((resolve) => {
      const timer = setTimeout(() => {
        socket.destroy();
        resolve(true);
      }, 500);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(timer);
        resolve(false);
      });
    });
  };
  t.notOk(await isOpenTo('worker', Buffer.alloc(0)), 'a worker is cut off');
  t.ok(await isOpenTo('manager', Buffer.alloc(0)), 'a manager may greet');
  t.notOk(await isOpenTo('manager', Buffer.from([255, 255, 255, 255, 1])), 'no frame is so large');
  t.notOk(await isOpenTo('manager', Buffer.from([1, 0, 0, 0, 2])), 'greetings come first');
  t.notOk(await isOpenTo('manager', Buffer.from([4, 0, 0, 0, 1, 255, 255, 255])), 'nonsense');
  t.ok(first.raft.isLeader);
});
