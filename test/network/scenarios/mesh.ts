/**
 * Scenario, run in namespaces of its own by mesh.test.ts: two hosts with real engines, the real
 * data path and real gossip. Names, balancing, published ports, draining, a killed agent, a dead
 * host.
 */
import { strict as assert } from 'node:assert';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { DatapathState } from '../../../src/native/datapath-types.js';
import { REFRESH_MS, SETTLE_MS } from '../../../src/network/limits.js';
import { must, run, sleep, waitFor } from '../../testbed/commands.js';
import { childOf, insideHost, killHolder, processStartTicks } from '../../testbed/namespaces.js';
import { docker, down, type Host, inClient, inHost, up } from '../../testbed/testbed.js';
import type { MeshCommand } from './mesh-host.js';

/** All agents made, for the report of a failure. */
const agents: Agent[] = [];
const AGENT = fileURLToPath(new URL('mesh-host.js', import.meta.url));

/** The agent process of one host. */
class Agent {
  readonly host: Host;
  private child: ChildProcess | undefined;

  constructor(host: Host) {
    this.host = host;
    agents.push(this);
  }

  async start(): Promise<void> {
    const { host } = this;
    const args = [host.number, host.address, host.directory, host.bpfDirectory].map(String);
    this.child = spawn(
      'nsenter',
      [...insideHost(host.holderPid), process.execPath, AGENT, ...args],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    await this.ask({ kind: 'start', managers: ['192.168.77.11'] });
  }

  async ask(command: MeshCommand): Promise<unknown> {
    const { child } = this;
    assert.ok(child);
    return await new Promise((resolve, reject) => {
      const ended = () => reject(new Error(`agent of ${this.host.name} ended`));
      child.once('exit', ended);
      child.once('message', (reply: { result?: unknown; error?: string }) => {
        child.off('exit', ended);
        if (reply.error === undefined) resolve(reply.result);
        else reject(new Error(reply.error));
      });
      child.send(command);
    });
  }

  async dump(): Promise<DatapathState> {
    return (await this.ask({ kind: 'dump' })) as DatapathState;
  }

  /** For the report of a failure. */
  async state(): Promise<unknown> {
    if (this.child?.connected !== true) return 'no agent';
    return [await this.dump(), await this.ask({ kind: 'counters' })];
  }

  /** kill -9, as a crash would end it. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    const inner = child?.pid === undefined ? undefined : childOf(child.pid);
    if (child === undefined || inner === undefined) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    process.kill(inner, 'SIGKILL');
    await ended;
  }

  async inContainer(name: string, ...command: string[]): Promise<string> {
    const args = ['exec', name, ...command];
    const { code, stdout, stderr } = await docker(this.host.dockerSocket, args);
    if (code !== 0) throw new Error(`${name}: ${command.join(' ')}: ${stderr || stdout}`);
    return stdout;
  }
}

async function step(name: string, work: () => Promise<string | void>): Promise<void> {
  const before = performance.now();
  const note = await work();
  console.log(
    `ok ${name} (${Math.round(performance.now() - before)} ms)${note ? `: ${note}` : ''}`,
  );
}

/** Answers of `count` requests from outside: "hostname client". */
async function fromOutside(address: string, port: number, count = 1): Promise<readonly string[]> {
  const answers: string[] = [];
  for (let turn = 0; turn < count; turn += 1) {
    const url = `http://${address}:${port}/who`;
    const { stdout } = await inClient(['curl', '-sS', '--max-time', '2', url]);
    answers.push(stdout.trim());
  }
  return answers;
}

/** Backends of a published port on a host. */
async function backendsOf(agent: Agent, port: number): Promise<readonly string[]> {
  const { services } = await agent.dump();
  const row = services.find(({ key }) => key.kind === 'published' && key.port === port);
  return (row?.backends ?? []).map(({ address }) => address).toSorted();
}

async function untilBackends(agent: Agent, port: number, wanted: readonly string[]): Promise<void> {
  await waitFor(
    `${wanted.join(' ')} behind port ${port} on ${agent.host.name}`,
    20_000,
    async () => {
      const found = await backendsOf(agent, port);
      return found.join() === wanted.join() ? true : undefined;
    },
  );
}

async function scenario(hosts: readonly Host[]): Promise<void> {
  const [one, two] = hosts.map((host) => new Agent(host));
  assert.ok(one && two);
  const containers = new Map<number, string>();

  await step('two nodes find each other', async () => {
    await one.start();
    await two.start();
    for (const agent of [one, two]) {
      await waitFor(`a peer node on ${agent.host.name}`, 20_000, async () => {
        const { nodes } = await agent.dump();
        return nodes.length === 1 ? true : undefined;
      });
    }
  });

  await step('tasks start on both', async () => {
    for (const [agent, slot] of [
      [one, 1],
      [two, 2],
    ] as const) {
      const id = String(await agent.ask({ kind: 'run', slot }));
      containers.set(slot, id);
      await agent.ask({ kind: 'activate', slot, containerId: id });
    }
    for (const agent of [one, two]) await untilBackends(agent, 8000, ['10.0.0.11', '10.0.0.12']);
  });

  await step('names', async () => {
    const inOne = async (...command: string[]) => await one.inContainer('web.1.task1', ...command);
    assert.match(await inOne('nslookup', '-type=a', 'web'), /10\.0\.1\.200/);
    const tasks = await inOne('nslookup', '-type=a', 'tasks.web');
    assert.match(tasks, /10\.0\.1\.101/);
    assert.match(tasks, /10\.0\.1\.102/);
    assert.match(await inOne('nslookup', '-type=a', 'www'), /10\.0\.1\.200/);
    assert.match(await inOne('nslookup', '-type=a', 'web.2.task2'), /10\.0\.1\.102/);
    assert.match(await inOne('nslookup', '-type=a', 'web2'), /10\.0\.1\.102/);
    assert.doesNotMatch(await inOne('cat', '/etc/hosts'), /10\.0\.1\.200/);
  });

  await step('container to container and to the virtual address', async () => {
    const who = async (target: string) =>
      (await one.inContainer('web.1.task1', 'wget', '-qO-', `http://${target}/who`)).trim();
    assert.equal(await who('web.2.task2'), 'web2 10.0.1.101');
    const names = new Set<string>();
    for (let turn = 0; turn < 12; turn += 1) names.add((await who('web')).split(' ')[0] ?? '');
    assert.deepEqual([...names].toSorted(), ['web1', 'web2']);
  });

  await step('a task on an internal network has names and nothing else', async () => {
    for (const [agent, slot] of [
      [one, 3],
      [two, 4],
    ] as const) {
      const id = String(await agent.ask({ kind: 'run', slot }));
      await agent.ask({ kind: 'activate', slot, containerId: id });
    }
    const inThree = async (...command: string[]) =>
      await one.inContainer('web.3.task3', ...command);
    const names = await waitFor('both internal tasks to have names', 10_000, async () => {
      const text = await inThree('nslookup', '-type=a', 'tasks.web');
      return text.includes('10.0.2.104') ? text : undefined;
    });
    assert.match(names, /10\.0\.2\.103/);
    assert.doesNotMatch(names, /10\.0\.1\./, 'names of other networks are not seen');
    assert.doesNotMatch(await inThree('ip', 'route'), /default/);
    const who = await inThree('wget', '-qO-', 'http://web.4.task4/who');
    assert.equal(who.trim(), 'web4 10.0.2.103');
  });

  await step('published ports keep the client address', async () => {
    for (const { host } of [one, two]) {
      const answers = new Set(await fromOutside(host.address, 8000, 24));
      assert.deepEqual([...answers].toSorted(), ['web1 192.168.77.1', 'web2 192.168.77.1']);
    }
    assert.deepEqual(await fromOutside(one.host.address, 9000), ['web1 192.168.77.1']);
    assert.deepEqual(await fromOutside(two.host.address, 9000), ['web2 192.168.77.1']);
  });

  await step('host mode and back, live', async () => {
    await two.ask({ kind: 'ports', slot: 2, mode: 'host' });
    await untilBackends(one, 8000, ['10.0.0.11']);
    assert.deepEqual(await fromOutside(two.host.address, 8000), ['web2 192.168.77.1']);
    await two.ask({ kind: 'ports', slot: 2, mode: 'ingress' });
    await untilBackends(one, 8000, ['10.0.0.11', '10.0.0.12']);
  });

  await step('a killed agent takes nothing out, and takes everything over', async () => {
    const before = await two.dump();
    await two.kill();
    const deadline = performance.now() + 4000;
    let asked = 0;
    while (performance.now() < deadline) {
      for (const { host } of [one, two]) {
        const [answer = ''] = await fromOutside(host.address, 8000);
        assert.match(answer, /^web[12] 192\.168\.77\.1$/, `after ${asked} requests`);
        asked += 1;
      }
      assert.deepEqual(await backendsOf(one, 8000), ['10.0.0.11', '10.0.0.12']);
    }
    await two.start();
    const after = await two.dump();
    assert.deepEqual(after.links, before.links);
    for (let turn = 0; turn < 10; turn += 1) {
      for (const { host } of [one, two]) {
        assert.match((await fromOutside(host.address, 8000))[0] ?? '', /^web[12] 192/);
      }
      await sleep(100);
    }
    const id = containers.get(2) ?? '';
    await two.ask({ kind: 'activate', slot: 2, containerId: id });
    // Past the time in which leftovers and held entries are kept: what stays has been announced.
    await sleep(Math.max(SETTLE_MS, REFRESH_MS) + 500);
    for (const agent of [one, two]) {
      assert.deepEqual(await backendsOf(agent, 8000), ['10.0.0.11', '10.0.0.12']);
    }
    return `${asked} requests while it was away`;
  });

  await step('draining spreads before it resolves', async () => {
    await two.ask({ kind: 'drain', slot: 2 });
    assert.deepEqual(await backendsOf(one, 8000), ['10.0.0.11']);
    assert.doesNotMatch(
      await one.inContainer('web.1.task1', 'nslookup', '-type=a', 'tasks.web'),
      /10\.0\.1\.102/,
    );
    await two.ask({ kind: 'activate', slot: 2, containerId: containers.get(2) ?? '' });
    await untilBackends(one, 8000, ['10.0.0.11', '10.0.0.12']);
  });

  await step('a dead host goes', async () => {
    const before = performance.now();
    const ticks = processStartTicks(two.host.holderPid) ?? '';
    await must('ip', ['-n', 'under', 'link', 'set', two.host.bridgePort, 'down']);
    await killHolder(two.host.holderPid, ticks);
    await untilBackends(one, 8000, ['10.0.0.11']);
    const tookMs = Math.round(performance.now() - before);
    assert.deepEqual(
      new Set(await fromOutside(one.host.address, 8000, 6)),
      new Set(['web1 192.168.77.1']),
    );
    return `${tookMs} ms after its link went down`;
  });

  await step('leaving removes everything', async () => {
    await one.ask({ kind: 'end', slot: 1, containerId: containers.get(1) ?? '' });
    await one.ask({ kind: 'leave' });
    const links = await inHost(one.host, ['ip', '-o', 'link']);
    assert.doesNotMatch(links.stdout, / (sw-|sk[vp])/);
    await one.kill();
  });
}

mkdirSync('/run/netns', { recursive: true });
await must('mount', ['-t', 'tmpfs', 'tmpfs', '/run/netns']);
await must('mount', ['--make-shared', '/run/netns']);
await run('ip', ['link', 'set', 'lo', 'up']);
try {
  const hosts = await up(2, { noSkep: 'all', liveRestore: true });
  console.log('hosts are up');
  await scenario(hosts);
  console.log('scenario passed');
} catch (error) {
  console.log('scenario failed', error);
  for (const agent of agents) console.log(JSON.stringify(await agent.state(), undefined, 1));
  process.exitCode = 1;
} finally {
  await down();
  process.exit();
}
