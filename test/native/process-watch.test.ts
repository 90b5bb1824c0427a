/**
 * The end of real processes, as another process is told of it: once, with many at once, not after it
 * was closed, not of one that has the id but is another, and never in the way of this process's own end.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { type ProcessWatch, watchProcess } from '../../src/native/process-watch.js';
import { sleep, waitFor } from '../testbed/commands.js';

const MODULE = new URL('../../src/native/process-watch.js', import.meta.url).href;
const MANY = 500;
const QUIET_MS = 300;

interface Process {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Its network namespace. */
  readonly path: string;
}

/** A process in a network namespace of its own, or in that of another one. */
async function startProcess(t: Test, beside?: Process): Promise<Process> {
  const command = beside === undefined ? 'unshare' : 'nsenter';
  const where = beside === undefined ? ['--net'] : ['-t', String(beside.pid), '-n'];
  const child = spawn(command, [...where, 'sh', '-c', 'echo; read go; exit 3'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  return { child, pid, path: `/proc/${pid}/ns/net` };
}

/** Descriptors of this process that stand for processes. */
function descriptors(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('pidfd');
    } catch {
      return false; // That of the directory itself.
    }
  }).length;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

void t.test('the end is told once, killed or by itself', async (t) => {
  for (const end of [
    ({ child }: Process) => child.kill('SIGKILL'),
    ({ child }: Process) => child.stdin?.end('go\n'),
  ]) {
    const watched = await startProcess(t);
    let calls = 0;
    const watch = watchProcess(watched.pid, watched.path, () => {
      calls += 1;
    });
    await sleep(QUIET_MS);
    t.equal(calls, 0, 'it runs');
    end(watched);
    await waitFor('the call', 5000, async () => (calls > 0 ? true : undefined));
    await sleep(QUIET_MS);
    t.equal(calls, 1);
    watch.close();
    watch.close();
  }
  t.equal(descriptors(), 0, 'nothing is left open');
});

void t.test(
  'a halted process has not ended, and of one that is not watched any more nothing is told',
  async (t) => {
    const watched = await startProcess(t);
    let calls = 0;
    const watch = watchProcess(watched.pid, watched.path, () => {
      calls += 1;
    });
    watched.child.kill('SIGSTOP');
    await sleep(QUIET_MS);
    watched.child.kill('SIGCONT');
    await sleep(QUIET_MS);
    t.equal(calls, 0);
    watch.close();
    watched.child.kill('SIGKILL');
    await ended(watched.child);
    await sleep(QUIET_MS);
    t.equal(calls, 0, 'closed before');
    await waitFor('the descriptor to go', 5000, async () =>
      descriptors() === 0 ? true : undefined,
    );
  },
);

void t.test('who has the id but is somewhere else is not watched', async (t) => {
  const [one, other] = [await startProcess(t), await startProcess(t)];
  const never = (): void => void t.fail('nothing is watched');
  t.throws(() => watchProcess(other.pid, one.path, never), { code: 'ESRCH' });
  t.throws(() => watchProcess(process.pid, one.path, never), { code: 'ESRCH' });
  t.throws(() => watchProcess(process.pid, '/proc/self/ns/net', never), { code: 'EINVAL' });
  t.throws(() => watchProcess(one.pid, `/proc/${one.pid}/ns/pid`, never), { code: 'EINVAL' });
  t.throws(() => watchProcess(one.pid, '/nowhere', never), { code: 'ENOENT' });
  for (const pid of [0, -1, 1.5, Number.NaN, 2 ** 32 + one.pid, 2 ** 53])
    t.throws(() => watchProcess(pid, one.path, never), { code: 'EINVAL' }, `${pid}`);
  // The namespace outlives the process, as the engine's do.
  const beside = await startProcess(t, one);
  beside.child.kill('SIGKILL');
  await ended(beside.child);
  t.throws(() => watchProcess(beside.pid, one.path, never), {
    code: 'ESRCH',
    syscall: 'pidfd_open',
  });
  t.equal(descriptors(), 0);
  one.child.kill('SIGKILL');
  other.child.kill('SIGKILL');
  await Promise.all([ended(one.child), ended(other.child)]);
});

void t.test('an id that has gone to another process', async (t) => {
  // In a PID namespace of its own, whose next ids can be chosen.
  const script = `
    import { spawn } from 'node:child_process';
    import { once } from 'node:events';
    import { openSync, writeFileSync } from 'node:fs';
    const { watchProcess } = await import(${JSON.stringify(MODULE)});
    const start = () => spawn('unshare', ['--net', 'sh', '-c', 'echo; sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const first = start();
    await once(first.stdout, 'data');
    const path = '/proc/self/fd/' + openSync('/proc/' + first.pid + '/ns/net', 'r');
    const told = new Promise((resolve) => watchProcess(first.pid, path, resolve));
    first.kill('SIGKILL');
    await Promise.all([once(first, 'exit'), told]);
    let second;
    for (let i = 0; i < 100 && second?.pid !== first.pid; i++) {
      second?.kill('SIGKILL');
      writeFileSync('/proc/sys/kernel/ns_last_pid', String(first.pid - 1));
      second = start();
    }
    await once(second.stdout, 'data');
    const outcome = (where) => {
      try { watchProcess(first.pid, where, () => undefined); return 'watched'; } catch ({ code }) { return code; }
    };
    console.log(second.pid === first.pid, outcome(path), outcome('/proc/' + second.pid + '/ns/net'));
    process.exit(0);`;
  const isolated = ['--pid', '--fork', '--kill-child', '--mount-proc', process.execPath];
  const args = [...isolated, '--input-type=module', '-e', script];
  t.equal(execFileSync('unshare', args, { encoding: 'utf8' }), 'true ESRCH watched\n');
});

void t.test(`${MANY} at once, half of them closed`, async (t) => {
  const first = await startProcess(t);
  const script = `i=0; while [ $i -lt ${MANY} ]; do sleep 1000 & echo $!; i=$((i+1)); done; echo done; wait`;
  const holder = spawn('nsenter', ['-t', String(first.pid), '-n', 'sh', '-c', script]);
  let said = '';
  holder.stdout.on('data', (text: Buffer) => {
    said += text.toString();
  });
  await waitFor('the processes', 30_000, async () => (said.includes('done') ? true : undefined));
  const pids = said.split('\n').map(Number).filter(Boolean);
  t.teardown(() => {
    for (const pid of pids) kill(pid);
  });
  t.equal(pids.length, MANY);
  const called = new Map<number, number>();
  const watches: ProcessWatch[] = pids.map((pid) =>
    watchProcess(pid, first.path, () => called.set(pid, (called.get(pid) ?? 0) + 1)),
  );
  t.equal(descriptors(), MANY);
  const watched = pids.filter((_, index) => index % 2 === 0);
  for (const [index, watch] of watches.entries()) if (index % 2 === 1) watch.close();
  for (const pid of pids) kill(pid);
  await waitFor('all calls', 20_000, async () =>
    called.size >= watched.length ? true : undefined,
  );
  await sleep(QUIET_MS);
  t.same(new Set(called.keys()), new Set(watched));
  t.same(new Set(called.values()), new Set([1]));
  t.equal(descriptors(), 0);
});

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended before.
  }
}

void t.test(
  'more than the limit are refused, and given back ones may be taken again',
  async (t) => {
    const { pid, path, child } = await startProcess(t);
    const script =
      `const { watchProcess } = await import(${JSON.stringify(MODULE)});` +
      `const open = () => watchProcess(${pid}, ${JSON.stringify(path)}, () => undefined);` +
      'const all = Array.from({ length: 10000 }, open);' +
      'try { open(); console.log("opened"); } catch (error) { console.log(error.code); }' +
      'all.forEach((watch) => watch.close()); setTimeout(() => { open(); console.log("again"); }, 50);';
    const args = ['--input-type=module', '-e', script];
    const inherited = ['-c', 'ulimit -n 11000 && exec "$0" "$@"', process.execPath, ...args];
    t.equal(execFileSync('sh', inherited, { encoding: 'utf8' }), 'EMFILE\nagain\n');
    child.kill('SIGKILL');
    await ended(child);
  },
);

void t.test('a watch keeps neither a process nor a worker from ending', async (t) => {
  const watched = await startProcess(t);
  const open = `watchProcess(${watched.pid}, ${JSON.stringify(watched.path)}, () => console.log('ended'))`;
  const script = `const { watchProcess } = await import(${JSON.stringify(MODULE)}); ${open};`;
  const run = (more: string): string =>
    execFileSync(process.execPath, ['--input-type=module', '-e', script + more], {
      encoding: 'utf8',
      timeout: 20_000,
    });
  t.equal(run('console.log("over");'), 'over\n', 'its loop is empty');
  t.equal(run('console.log("over"); process.exit(0);'), 'over\n', 'it exits');
  const url = `data:text/javascript,${encodeURIComponent(`${script} setInterval(() => 0, 1000);`)}`;
  const worker = new Worker(new URL(url));
  await waitFor('the worker', 10_000, async () => (descriptors() === 1 ? true : undefined));
  await worker.terminate();
  t.equal(descriptors(), 0, 'a worker gives its descriptors back');
  watched.child.kill('SIGKILL');
  await ended(watched.child);
});

void t.test('what the callback throws is an uncaught exception, not lost', async (t) => {
  const watched = await startProcess(t);
  const script =
    `const { watchProcess } = await import(${JSON.stringify(MODULE)});` +
    'process.on("uncaughtException", ({ message }) => { console.log(message); process.exit(0); });' +
    `watchProcess(${watched.pid}, ${JSON.stringify(watched.path)}, () => { throw new Error("thrown"); });` +
    `process.kill(${watched.pid}, "SIGKILL"); setInterval(() => 0, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  t.teardown(() => child.kill('SIGKILL'));
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  t.equal(said.toString(), 'thrown\n');
});
