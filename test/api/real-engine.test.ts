/** The stock CLI through the API to a real engine: everything that streams or hijacks. */
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { initSwarm, startApi } from './support/api-fixture.js';
import { installedClis, runCli } from './support/cli.js';
import { canRunEngines, IMAGE, PrivateEngine } from './support/private-engine.js';
import { exchange, jsonRequest, openSocket, parseAnswer, readUntil } from './support/raw-http.js';

// The whole file may take longer than tap allows by default on a busy machine.
t.setTimeout(200_000);

void t.test('a real engine behind the API', { timeout: 190_000 }, async (t) => {
  if (!(await canRunEngines())) return t.comment('needs root, dockerd and busybox');
  const engine = await PrivateEngine.start('api-host');
  t.teardown(() => engine.stop());
  const api = await startApi(t, engine.socketPath);
  const [cli = '/usr/bin/docker'] = await installedClis();
  const docker = (args: readonly string[], input?: string) =>
    runCli(cli, api.socketPath, args, input);
  const output = async (args: readonly string[], input?: string) => {
    const { code, stdout, stderr } = await docker(args, input);
    t.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };

  await t.test('run -i: input, its end, and output after it', async (t) => {
    for (const each of await installedClis()) {
      const run = (command: readonly string[], input: string) =>
        runCli(each, api.socketPath, ['run', '--rm', '-i', IMAGE, ...command], input);
      t.equal((await run(['cat'], 'hello\n')).stdout, 'hello\n', each);
      const script = 'wc -c; echo after; sleep 0.2; echo later';
      const big = await run(['sh', '-c', script], 'x'.repeat(3_000_000));
      t.equal(big.stdout, '3000000\nafter\nlater\n', each);
    }
    const failed = await docker(['run', '--rm', IMAGE, 'sh', '-c', 'echo bad >&2; exit 7']);
    t.match(failed, { code: 7, stdout: '', stderr: 'bad\n' });
  });

  await t.test('exec, with and without a terminal', async (t) => {
    const id = (await output(['run', '-d', IMAGE, 'sleep', '1000'])).trim();
    t.equal(await output(['exec', '-i', id, 'cat'], 'piped'), 'piped');
    const made = await exchange(
      api.socketPath,
      jsonRequest(
        'POST',
        `/v1.41/containers/${id}/exec`,
        '{"AttachStdin":true,"AttachStdout":true,"Tty":true,"Cmd":["sh"]}',
      ),
    );
    const exec = (JSON.parse(parseAnswer(made).body) as { Id: string }).Id;
    const socket = await openSocket(api.socketPath);
    const body = '{"Detach":false,"Tty":true}';
    socket.write(
      `POST /v1.41/exec/${exec}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n` +
        `Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await readUntil(socket, '\r\n\r\n');
    socket.write('echo $((40+2))\n');
    t.match(await readUntil(socket, '42'), /42/);
    socket.destroy();
    await output(['rm', '-f', id]);
  });

  await t.test('logs -f, cp, build, save and load', async (t) => {
    const script = 'for i in $(seq 5); do echo line $i; sleep 0.1; done';
    const id = (await output(['run', '-d', IMAGE, 'sh', '-c', script])).trim();
    t.equal(await output(['logs', '-f', id]), 'line 1\nline 2\nline 3\nline 4\nline 5\n');
    const source = path.join(api.folder, 'source');
    await mkdir(source);
    await writeFile(path.join(source, 'data'), 'y'.repeat(500_000));
    await output(['cp', source, `${id}:/tmp/`]);
    await output(['cp', `${id}:/tmp/source/data`, path.join(api.folder, 'back')]);
    t.equal((await readFile(path.join(api.folder, 'back'))).length, 500_000);
    await output(['rm', id]);
    await writeFile(
      path.join(source, 'Dockerfile'),
      `FROM ${IMAGE}\nCOPY data /data\nRUN wc -c /data > /size\n`,
    );
    t.match(await output(['build', '-t', 'built:1', source]), /Successfully tagged built:1/);
    t.match(await output(['run', '--rm', 'built:1', 'cat', '/size']), /^500000 /);
    // BuildKit speaks HTTP/2 over an upgraded connection; the oldest CLI has it built in.
    const buildKit = { DOCKER_BUILDKIT: '1' };
    const built = await runCli(cli, api.socketPath, ['build', '-q', source], '', buildKit);
    t.match(built, { code: 0, stdout: /^sha256:/ });
    const archive = path.join(api.folder, 'image.tar');
    await output(['save', '-o', archive, 'built:1']);
    t.match(await output(['load', '-i', archive]), /Loaded image: built:1/);
  });

  await t.test('events of both, and the end of a client that watches', async (t) => {
    await initSwarm(api);
    const watcher = spawn(cli, [
      ...['-H', `unix://${api.socketPath}`, 'events'],
      ...['--format', '{{.Type}} {{.Action}} {{.Scope}} {{index .Actor.Attributes "name"}}'],
    ]);
    t.teardown(() => watcher.kill());
    let seen = '';
    const until = (text: string) =>
      new Promise<void>((resolve) => {
        const look = () => seen.includes(text) && (watcher.stdout.off('data', look), resolve());
        watcher.stdout.on('data', look);
        look();
      });
    watcher.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
    });
    // The watcher is connected once it sees something of the engine's.
    const probe = setInterval(() => void docker(['volume', 'create', 'probe']), 200);
    await until('volume create local');
    clearInterval(probe);
    await output(['secret', 'create', 'sec', '-'], 'x');
    await until('secret create swarm sec');
    await output(['service', 'create', '-d', '--name', 'web', IMAGE]);
    await until('service create swarm web');
    await output(['service', 'scale', '-d', 'web=3']);
    await output(['service', 'rm', 'web']);
    await until('service remove swarm web');
    t.match(seen, /service update swarm web/);
    await output(['run', '--rm', '--name', 'plain', IMAGE, 'true']);
    await until('container destroy local plain');
  });

  await t.test('plain containers on attachable networks', async (t) => {
    const labels = ['--label', 'skep.network.id=twin', '--opt', 'skep.network.id=twin'];
    await output(['network', 'create', '-d', 'overlay', '--attachable', 'open']);
    await output(['network', 'create', '-d', 'overlay', 'closed']);
    const swarmId = (await output(['network', 'inspect', '-f', '{{.Id}}', 'open'])).trim();
    const makeTwin = async () => {
      const twin = ['network', 'create', ...labels, '--label', `skep.network.id=${swarmId}`];
      const args = [...twin, '--opt', `skep.network.id=${swarmId}`, 'open'];
      return (await runCli(cli, engine.socketPath, args)).stdout.trim();
    };
    api.membership.engineIdOf = makeTwin;
    const refused = await docker(['run', '--rm', '--network', 'closed', IMAGE, 'true']);
    t.equal(refused.code, 125);
    t.match(refused.stderr, /Could not attach to network closed: rpc error: code = PermissionDe/);
    t.same(api.membership.ensured, []);
    const args = ['run', '-d', '--network', 'open', IMAGE, 'sleep', '1000'];
    const id = (await output(args)).trim();
    t.same(api.membership.ensured, ['open']);
    const shown = await output([
      'inspect',
      '-f',
      '{{json .HostConfig.Dns}} {{(index .NetworkSettings.Networks "open").NetworkID}}',
      id,
    ]);
    t.equal(shown, `["169.254.77.53"] ${swarmId}\n`);
    const names = await output([
      'network',
      'ls',
      '--filter',
      'name=open',
      '--format',
      '{{.Scope}}',
    ]);
    t.equal(names, 'swarm\n', 'the twin is not shown');
    t.match(await output(['network', 'inspect', 'open']), new RegExp(id), 'its containers are');
    api.membership.engineIdOf = async () =>
      (
        await runCli(cli, engine.socketPath, ['network', 'inspect', '-f', '{{.Id}}', 'open'])
      ).stdout.trim();
    const other = (await output(['run', '-d', IMAGE, 'sleep', '1000'])).trim();
    await output(['network', 'connect', 'open', other]);
    await output(['network', 'disconnect', 'open', other]);
    await output(['rm', '-f', id, other]);

    const network = api.membership
      .manager()
      .control.listNetworks()
      .find((each) => each.id === swarmId);
    await api.membership.becomeWorker();
    await runCli(cli, engine.socketPath, ['network', 'rm', 'open']);
    api.membership.findAttachable = (name) =>
      Promise.resolve(name === 'open' ? network : undefined);
    api.membership.engineIdOf = makeTwin;
    t.equal((await docker(['run', '--rm', '--network', 'nope', IMAGE, 'true'])).code, 125);
    await output(['run', '--rm', '--network', 'open', IMAGE, 'true']);
    const known = ['create', '--name', 'known', '--network', 'open', IMAGE, 'true'];
    await output(known);
    const dns = await output(['inspect', '-f', '{{json .HostConfig.Dns}}', 'known']);
    t.equal(dns, '["169.254.77.53"]\n', 'also where the network is known already');
    t.same(
      await output(['network', 'ls', '-f', 'name=open', '--format', '{{.ID}} {{.Scope}}']),
      `${swarmId.slice(0, 12)} swarm\n`,
    );
  });
});
