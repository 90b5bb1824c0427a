/**
 * A stock serf agent as a ring mate: the membership layer against an independent implementation,
 * plain and encrypted, joining and being joined.
 */
import { execFile, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { freshAddress, Peer, PORT, until } from './ring.js';

const run = promisify(execFile);
const RPC_PORT = 17373;
const missing = spawnSync('serf', ['version']).status === 0 ? false : 'serf is not installed';

interface Agent {
  readonly address: string;
  readonly kill: () => void;
  /** Members as that agent lists them: name to status. */
  readonly members: () => Promise<Map<string, string>>;
  readonly command: (...words: string[]) => Promise<string>;
}

async function startAgent(test: Test, extra: readonly string[]): Promise<Agent> {
  const address = freshAddress();
  const rpc = `-rpc-addr=${address}:${RPC_PORT}`;
  const agent = spawn(
    'serf',
    ['agent', `-bind=${address}:${PORT}`, rpc, '-node=stock', '-profile=local', ...extra],
    { stdio: 'ignore' },
  );
  test.teardown(async () => {
    if (agent.exitCode !== null || agent.signalCode !== null) return;
    const gone = once(agent, 'exit');
    agent.kill('SIGKILL');
    await gone;
  });
  const command = async (name = '', ...words: string[]): Promise<string> =>
    (await run('serf', [name, rpc, ...words])).stdout;
  const members = async (): Promise<Map<string, string>> => {
    const lines = (await command('members')).split('\n').map((line) => line.split(/\s+/));
    return new Map(lines.map(([name = '', , status = '']) => [name, status]));
  };
  await until('serf agent', async () => {
    try {
      return (await members()).get('stock') === 'alive';
    } catch {
      // Its RPC port is not open yet.
      return false;
    }
  });
  return { address, command, members, kill: () => agent.kill('SIGKILL') };
}

const key = Buffer.alloc(16, 7);

for (const encrypted of [false, true]) {
  const kind = encrypted ? 'encrypted' : 'plain';
  const ours = { delegate: 'serf', profile: 'lan', keys: encrypted ? [key] : [] } as const;

  void t.test(`${kind}: we join, see its death and leave`, { skip: missing }, async (test) => {
    const flags = encrypted ? [`-encrypt=${key.toString('base64')}`] : [];
    const agent = await startAgent(test, flags);
    const us = new Peer('us', ours);
    const second = new Peer('second', ours);
    test.teardown(() => {
      us.gossip.close();
      second.gossip.close();
    });
    test.equal(await us.gossip.join([agent.address]), 1);
    test.equal(us.stateOf('stock'), 'alive');
    await until('serf lists us', async () => (await agent.members()).get('us') === 'alive');
    await agent.command('join', `${second.address}:${PORT}`);
    await until('all three', async () => (await agent.members()).size >= 3);
    await until('through gossip', () => us.stateOf('second') === 'alive');
    await second.gossip.leave(5000);
    await until('left at serf', async () => (await agent.members()).get('second') === 'left');
    await until('left with us', () => us.stateOf('second') === 'left');
    test.equal(us.gossip.counters().droppedUndecodable, 0);
    await agent.command('leave');
    await until('serf left', () => us.stateOf('stock') === 'left');
  });

  void t.test(
    `${kind}: each finds the other dead when it is killed`,
    { skip: missing },
    async (test) => {
      const flags = encrypted ? [`-encrypt=${key.toString('base64')}`] : [];
      const agent = await startAgent(test, flags);
      const us = new Peer('us', ours);
      test.teardown(() => us.gossip.close());
      test.equal(await us.gossip.join([agent.address]), 1);
      const script = fileURLToPath(new URL('./member-process.js', import.meta.url));
      const secret = encrypted ? [key.toString('hex')] : [];
      const args = ['victim', freshAddress(), agent.address, 'k', 'serf', ...secret];
      const victim = fork(script, args);
      test.teardown(() => victim.kill('SIGKILL'));
      await once(victim, 'message');
      await until('serf lists it', async () => (await agent.members()).get('victim') === 'alive');
      await until('so do we', () => us.stateOf('victim') === 'alive');
      victim.kill('SIGKILL');
      await until('failed at serf', async () => (await agent.members()).get('victim') === 'failed');
      await until('failed with us', () => us.stateOf('victim') === 'failed');
      test.equal((await agent.members()).get('us'), 'alive');
      agent.kill();
      await until('the agent failed', () => us.stateOf('stock') === 'failed');
    },
  );
}
