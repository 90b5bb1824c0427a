/**
 * The API's socket kept by a service manager: real skepds that get it as descriptor 3, one after the
 * other, and descriptors that are no such socket.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { activationSocket } from '../../src/daemon/socket-activation.js';
import { waitFor } from '../testbed/commands.js';
import { skepProgram } from '../testbed/layout.js';

/**
 * Stands for systemd, with namespaces of its own: makes the socket, and for each line of input a skepd that
 * gets it. Answers with the process id, and with the exit code once it is over; first with 0, when ready.
 */
const HOLDER = `
import os, socket, subprocess, sys
kind, path, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
family = socket.AF_INET if kind == 'tcp' else socket.AF_UNIX
held = socket.socket(family, socket.SOCK_DGRAM if kind == 'datagram' else socket.SOCK_STREAM)
held.bind(('127.0.0.1', 0) if kind == 'tcp' else path)
os.chmod(path, 0o600) if kind != 'tcp' else None
if kind in ('stream', 'tcp'): held.listen(16)
passed = os.open('/dev/null', os.O_RDONLY) if kind == 'file' else held.fileno()
os.dup2(passed, 3, inheritable=True)
print(0, flush=True)
script = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
for _ in sys.stdin:
    process = subprocess.Popen(['sh', '-c', script, 'sh'] + arguments, close_fds=True, pass_fds=(3,))
    print(process.pid, flush=True)
    print(process.wait(), flush=True)
`;
const NAMESPACES = 'ip link set lo up && mount -t bpf bpf /sys/fs/bpf && exec python3 -c "$@"';

/** O_CLOEXEC. */
const CLOSE_ON_EXEC = 0o2000000;

t.setTimeout(180_000);

interface Holder {
  readonly socket: string;
  /** What skepd wrote. */
  readonly log: () => string;
  /** Starts a skepd; its process id. */
  readonly start: () => Promise<number>;
  /** The exit code of the one started last; of a signal its negative number. */
  readonly exit: () => Promise<number>;
}

async function hold(t: Test, kind: string, apiSocket = 'api.sock'): Promise<Holder> {
  const directory = mkdtempSync('/tmp/skep-activation-');
  const socket = join(directory, 'api.sock');
  const options = {
    'state-dir': 'state',
    'engine-socket': 'no-engine.sock',
    'api-socket': apiSocket,
    'plugin-socket': 'plugin.sock',
    'secrets-dir': 'secrets',
  };
  const flags = Object.entries(options).flatMap(([name, file]) => [
    `--${name}`,
    join(directory, file),
  ]);
  const program = [process.execPath, skepProgram(), 'daemon', ...flags];
  const unshare = ['--net', '--mount', '--propagation', 'private', 'sh', '-c', NAMESPACES, 'sh'];
  const child: ChildProcess = spawn('unshare', [...unshare, HOLDER, kind, socket, ...program]);
  let log = '';
  child.stderr?.on('data', (text: Buffer) => {
    log += text.toString();
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const said: string[] = [];
  lines.on('line', (line) => (/^-?\d+$/.test(line) ? said.push(line) : (log += `${line}\n`)));
  const next = (what: string): Promise<number> =>
    waitFor(what, 30_000, async () => {
      const line = said.shift();
      return line === undefined ? undefined : Number(line);
    });
  let running = await next('the socket');
  t.teardown(async () => {
    if (running > 0) process.kill(running, 'SIGKILL');
    child.kill('SIGKILL');
    await once(child, 'close');
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    socket,
    log: () => log,
    async start() {
      child.stdin?.write('start\n');
      running = await next('a process');
      return running;
    },
    async exit() {
      const code = await next('the end');
      running = 0;
      return code;
    },
  };
}

/** A connection with a request on it. */
async function ask(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  socket.write('GET /swarm HTTP/1.1\r\nHost: skep\r\n\r\n');
  return socket;
}

async function statusOf(socket: Socket): Promise<string> {
  const [data] = (await once(socket, 'data')) as [Buffer];
  return data.toString().split('\r\n')[0] ?? '';
}

void t.test('the socket outlives skepd, and whoever asks meanwhile is answered', async (t) => {
  const holder = await hold(t, 'stream');
  const file = statSync(holder.socket);
  const early = await ask(holder.socket);
  let pid = await holder.start();
  t.match(await statusOf(early), /^HTTP\/1\.1 \d+ /, 'asked before the first start');
  early.destroy();
  const kept = await ask(holder.socket);
  t.match(await statusOf(kept), /^HTTP/);
  const [, flags = ''] =
    /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/3`, 'utf8')) ?? [];
  t.ok(Number.parseInt(flags, 8) & CLOSE_ON_EXEC, 'no child of skepd gets it');
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    process.kill(pid, signal);
    t.equal(await holder.exit(), signal === 'SIGTERM' ? 0 : -9);
    const meanwhile = await ask(holder.socket);
    pid = await holder.start();
    t.match(await statusOf(meanwhile), /^HTTP\/1\.1 \d+ /, `asked after ${signal}`);
    meanwhile.destroy();
    const now = statSync(holder.socket);
    t.same([now.ino, now.mode, now.gid], [file.ino, file.mode, file.gid]);
  }
});

void t.test('what is no listening unix stream socket is refused in one sentence', async (t) => {
  for (const [kind, sentence] of [
    ['file', /^skepd: descriptor 3, named by LISTEN_FDS, is not a socket \(.*ENOTSOCK\)$/m],
    ['datagram', /^skepd: the socket passed to skepd is not a listening unix stream socket: /m],
    ['tcp', /^skepd: the socket passed to skepd is not a listening unix stream socket: /m],
    ['bound', /^skepd: the socket passed to skepd is not a listening unix stream socket: /m],
  ] as const) {
    const holder = await hold(t, kind);
    await holder.start();
    t.equal(await holder.exit(), 1, kind);
    await waitFor('the sentence', 5000, async () =>
      sentence.test(holder.log()) ? true : undefined,
    );
  }
  const elsewhere = await hold(t, 'stream', 'other.sock');
  await elsewhere.start();
  t.equal(await elsewhere.exit(), 1);
  t.match(
    elsewhere.log(),
    /^skepd: the socket passed to skepd is bound to ".*api\.sock" and not to /m,
  );
  t.notOk(existsSync(elsewhere.socket.replace('api', 'other')));
});

void t.test('variables that mean nobody, another process, or nothing sensible', async (t) => {
  const pid = String(process.pid);
  const taken = (variables: Record<string, string>): number | undefined =>
    activationSocket(variables, '/run/skep.sock');
  t.equal(taken({}), undefined);
  t.equal(taken({ LISTEN_PID: pid }), undefined);
  t.equal(taken({ LISTEN_FDS: '1' }), undefined);
  t.equal(taken({ LISTEN_PID: String(process.ppid), LISTEN_FDS: '7' }), undefined);
  for (const count of ['', '0', '-1', '2', '1x', ' 1', '1e0', '9'.repeat(30)])
    t.throws(() => taken({ LISTEN_PID: pid, LISTEN_FDS: count }), {
      code: 'failed_precondition',
      message: `LISTEN_FDS is "${count}": skepd takes one socket, that of its API`,
    });
  const variables = { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'x', PATH: '/bin' };
  taken(variables);
  t.same(variables, { PATH: '/bin' }, 'children are told nothing');
});
