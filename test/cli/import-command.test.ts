/** `skep import` as far as it gets without a swarm here: what it is given, and what it refuses. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { runSkep } from '../api/support/cli.js';

const folder = mkdtempSync(path.join(tmpdir(), 'skep-import-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, text: string): string => {
  writeFileSync(path.join(folder, name), text);
  return path.join(folder, name);
};
const secret = (Name: string) => ({ ID: `id-${Name}`, Version: { Index: 1 }, Spec: { Name } });
const saved = file(
  'saved.json',
  JSON.stringify({
    format: 'skep-import/1',
    swarm: { ID: 'old', Spec: { Name: 'default' } },
    secrets: [secret('db'), secret('../outside')],
  }),
);
const none = path.join(folder, 'none.sock');

async function refusal(...args: readonly string[]): Promise<string> {
  const from = args.includes('--from') ? [] : ['--from', saved];
  const result = await runSkep(none, ['import', '--api-socket', none, ...from, ...args]);
  t.equal(result.code, 1, result.stdout);
  t.equal(result.stdout, '');
  return result.stderr;
}

void t.test('wrong words are refused before anything is asked', async (t) => {
  t.match(await refusal('--secret', 'db'), 'skep: --secret takes NAME=FILE\n');
  t.match(await refusal('--secret', 'x=/dev/null'), 'the other swarm has no such secret\n');
  t.match(await refusal('--skip', 'web'), '--skip web: give KIND/NAME, as service/web\n');
  t.match(await refusal('--skip', 'service/web'), 'the other swarm has no such service\n');
  t.match(await refusal('--secret', 'db=/dev/zero'), '/dev/zero: larger than 512000 bytes\n');
  t.match(await refusal('--from', path.join(folder, 'no')), /no: ENOENT/);
  t.match(await refusal('--from', file('bad', '{"format":1}')), /bad: this is not a swarm: /);
  t.match(await refusal(), `cannot talk to the API at ${none}: connect ENOENT`);
});

void t.test('a secret’s name leads nowhere but into its directory', async (t) => {
  file('outside', 'not to be read');
  const values = path.join(folder, 'values');
  mkdirSync(values);
  // Were it read, it would be found too large.
  writeFileSync(path.join(folder, 'outside'), Buffer.alloc(600_000));
  writeFileSync(path.join(values, 'unknown'), Buffer.alloc(600_000));
  t.match(await refusal('--secrets', values), 'cannot talk to the API');
  writeFileSync(path.join(values, 'db'), Buffer.alloc(600_000));
  t.match(await refusal('--secrets', values), 'values/db: larger than 512000 bytes');
});

void t.test('what is saved holds no tokens, and replaces nothing', async (t) => {
  const socket = path.join(folder, 'old.sock');
  const answers: Readonly<Record<string, unknown>> = {
    '/swarm': {
      ID: 'old',
      Spec: { Name: 'default', CAConfig: { SigningCAKey: 'hidden-key' } },
      JoinTokens: { Worker: 'SWMTKN-hidden' },
      TLSInfo: { TrustRoot: 'hidden-root' },
    },
  };
  const server = createServer((request, response) =>
    response.end(JSON.stringify(answers[request.url ?? ''] ?? [])),
  );
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.teardown(() => server.close());
  const target = path.join(folder, 'kept.json');
  const save = ['import', '--from', `unix://${socket}`, '--save', target];
  const first = await runSkep(none, save);
  t.equal(first.code, 0, first.stderr);
  t.equal(statSync(target).mode & 0o777, 0o600);
  const text = readFileSync(target, 'utf8');
  t.match(text, '"ID":"old"');
  t.notMatch(text, 'hidden');
  t.match((await runSkep(none, save)).stderr, 'kept.json exists: nothing is replaced\n');
  t.equal(readFileSync(target, 'utf8'), text);
  server.removeAllListeners('request');
  server.on('request', (_request, response) => {
    response.writeHead(503, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ message: 'no\u001b[2J manager' }));
  });
  t.match(await refusal('--from', socket), 'old.sock: no\\u{1b}[2J manager\n');
});
