/**
 * Netlink against the kernel: a child in a network namespace of its own does the work and prints
 * what it saw; it leaves nothing behind because its namespace dies with it.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

const MODULE = fileURLToPath(new URL('../../src/native/netlink.js', import.meta.url));

/** Runs `body` (an expression over `n`, a Netlink) in a fresh namespace with lo up. */
async function inNamespace(body: string): Promise<unknown> {
  const script = `
    const { openNetlink } = await import(${JSON.stringify(MODULE)});
    const n = openNetlink();
    const attempt = (f) => { try { return f(); } catch (e) {
      return { code: e.code, errno: e.errno, syscall: e.syscall }; } };
    n.setLinkUp('lo');
    console.log(JSON.stringify(${body}));`;
  const { stdout } = await promisify(execFile)('unshare', [
    '--net',
    process.execPath,
    '--input-type=module',
    '--eval',
    script,
  ]);
  return JSON.parse(stdout) as unknown;
}

const PAIR = `n.createVethPair({ name: 'skv1', peer: 'skp1', peerMac: '02:42:0a:00:01:05', mtu: 1450 })`;

void t.test('makes, lists and deletes a veth pair', async (t) => {
  t.same(
    await inNamespace(
      `[${PAIR}, n.linkNames().sort(), n.deleteLink('skv1'), n.deleteLink('skv1'), n.linkNames()]`,
    ),
    [null, ['lo', 'skp1', 'skv1'], true, false, ['lo']],
  );
});

void t.test('gives both ends of a pair an MTU, also when one is away', async (t) => {
  // Namespaces of processes that end with this one's pipe.
  const program = `(() => {
    const { execFileSync: run, spawn } = process.getBuiltinModule('node:child_process');
    const other = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'inherit', 'inherit'] });
    const own = run('readlink', ['/proc/self/ns/net']).toString();
    while (run('readlink', ['/proc/' + other.pid + '/ns/net']).toString() === own);
    const away = ['-t', String(other.pid), '-n', 'ip'];
    const mtu = (command, args, name) =>
      Number(/mtu (\\d+)/.exec(run(command, [...args, 'link', 'show', 'dev', name]).toString())[1]);
    const both = () => [mtu('ip', [], 'skv1'), mtu('nsenter', away, 'skp1')];
    const fit = (mtu) => n.setPairMtu({ name: 'skv1', peerNamespace: '/proc/' + other.pid + '/ns/net', mtu });
    ${PAIR};
    fit(1440);
    const near = [mtu('ip', [], 'skv1'), mtu('ip', [], 'skp1')];
    run('ip', ['link', 'set', 'skp1', 'netns', String(other.pid)]);
    const seen = [near];
    for (const size of [1300, 1400]) { fit(size); seen.push(both()); }
    run('nsenter', [...away, 'link', 'set', 'skp1', 'mtu', '1280']);
    for (const size of [1450, 1270]) { fit(size); seen.push(both()); }
    const gone = attempt(() => n.setPairMtu({ name: 'skv1', peerNamespace: '/proc/none', mtu: 1300 }));
    other.kill();
    return [seen, gone.code];
  })()`;
  t.same(await inNamespace(program), [
    [
      [1440, 1440],
      [1300, 1300],
      [1400, 1400],
      [1450, 1280],
      [1270, 1270],
    ],
    'ENOENT',
  ]);
});

void t.test('adds routes in another namespace, behind those that are there', async (t) => {
  const program = `(() => {
    const { execFileSync: run, spawn } = process.getBuiltinModule('node:child_process');
    const other = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'inherit', 'inherit'] });
    const own = run('readlink', ['/proc/self/ns/net']).toString();
    while (run('readlink', ['/proc/' + other.pid + '/ns/net']).toString() === own);
    const ip = (...args) => run('nsenter', ['-t', String(other.pid), '-n', 'ip', ...args]).toString();
    ${PAIR};
    run('ip', ['link', 'set', 'skp1', 'netns', String(other.pid)]);
    run('ip', ['link', 'set', 'skv1', 'up']);
    ip('address', 'add', '10.0.1.5/24', 'dev', 'skp1');
    ip('link', 'set', 'skp1', 'up');
    const inside = { namespace: '/proc/' + other.pid + '/ns/net', source: '10.0.1.5', metric: 4096 };
    const all = { ...inside, destination: '0.0.0.0', prefixLength: 0, gateway: '10.0.1.1' };
    n.setRouteInside(all);
    n.setRouteInside({ ...inside, destination: '169.254.77.53', prefixLength: 32 });
    ip('route', 'add', 'default', 'via', '10.0.1.2');
    n.setRouteInside(all);
    const routes = ip('route').split('\\n').map((line) => line.trim()).filter(Boolean);
    const code = (change) => attempt(() => n.setRouteInside({ ...all, ...change })).code;
    const codes = [code({ source: '10.0.1.6' }), code({ namespace: '/proc/none' }), code({ gateway: 'x' })];
    other.kill();
    return [routes, codes];
  })()`;
  t.same(await inNamespace(program), [
    [
      'default via 10.0.1.2 dev skp1',
      'default via 10.0.1.1 dev skp1 proto static metric 4096',
      '10.0.1.0/24 dev skp1 proto kernel scope link src 10.0.1.5',
      '169.254.77.53 dev skp1 proto static scope link metric 4096',
    ],
    ['ENODEV', 'ENOENT', 'EINVAL'],
  ]);
});

void t.test('lists addresses and finds routes', async (t) => {
  t.same(await inNamespace(`[n.addresses(), n.routeTo('127.0.0.1'), n.routeTo('::1')]`), [
    [
      { interfaceName: 'lo', address: '127.0.0.1', prefixLength: 8 },
      { interfaceName: 'lo', address: '::1', prefixLength: 128 },
    ],
    { interfaceName: 'lo', source: '127.0.0.1', mtu: 65_536 },
    { interfaceName: 'lo', source: '::1', mtu: 65_536 },
  ]);
});

void t.test('errors look like Node errors', async (t) => {
  const codes = (await inNamespace(`[
    attempt(() => n.setLinkUp('nothing')),
    attempt(() => n.routeTo('192.0.2.1')),
    attempt(() => n.routeTo('hello')),
    attempt(() => n.deleteLink('a-name-longer-than-15')),
    attempt(() => n.createVethPair({ name: 'a', peer: 'b', peerMac: 'zz', mtu: 1450 })),
    [${PAIR}, attempt(() => ${PAIR})][1],
  ]`)) as { code: string; errno: number; syscall: string }[];
  t.same(
    codes.map(({ code }) => code),
    ['ENODEV', 'ENETUNREACH', 'EINVAL', 'EINVAL', 'EINVAL', 'EEXIST'],
  );
  t.ok(codes.every(({ errno, syscall }) => errno < 0 && syscall.startsWith('netlink')));
});
