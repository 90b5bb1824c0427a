/** Files of secrets and configs: owners and modes as Docker Engine sets them, one mount a place. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import t from 'tap';
import { SecretMounts } from '../../src/agent/secret-mounts.js';
import {
  ConfigSchema,
  SecretSchema,
  TaskSchema,
} from '../../src/model/gen/docker/swarmkit/v1/objects_pb.js';

const NODE = { hostname: 'h', architecture: 'x86_64', os: 'linux' };
const SECRET = create(SecretSchema, { id: 's', spec: { data: Buffer.from('secret') } });
const CONFIG = create(ConfigSchema, { id: 'c', spec: { data: Buffer.from('config!') } });
const dependencies = { secret: () => SECRET, config: () => CONFIG };

interface Target {
  readonly name?: string;
  readonly uid?: string;
  readonly mode?: number;
}

void t.test('files of secrets', async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'skep-secrets-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const mounts = new SecretMounts(directory);
  const write = async ({ name = 'x', uid = '0', mode = 0o444 }: Target, configAt?: string) => {
    const file = (at: string) =>
      ({ case: 'file', value: { name: at, uid, gid: '0', mode } }) as const;
    const configs = configAt === undefined ? [] : [{ configId: 'c', target: file(configAt) }];
    const value = { secrets: [{ secretId: 's', target: file(name) }], configs };
    const task = create(TaskSchema, { id: 't', spec: { runtime: { case: 'container', value } } });
    const made = await mounts.write({ task, node: NODE, dependencies });
    return made.map(({ Target, Source }) => ({ at: Target, ...facts(Source) }));
  };
  const facts = (file: string) => {
    const { mode, uid, size } = statSync(file);
    return { mode: (mode & 0o7777).toString(8), uid, size };
  };
  t.strictSame(await write({ mode: 0o7777 }), [
    { at: '/run/secrets/x', mode: '777', uid: 0, size: 6 },
  ]);
  t.match(await write({ uid: '-1' }), [{ uid: 0 }], 'as chown(2) has it');
  t.match(await write({ uid: '99999999999' }), [{ uid: 99999999999 % 2 ** 32 }]);
  await t.rejects(write({ uid: 'root' }), { message: /Atoi: parsing "root": invalid syntax/ });
  await t.rejects(write({ uid: '9'.repeat(30) }), { message: /value out of range/ });
  t.match(await write({ name: '/cc' }, 'cc'), [{ at: '/cc', size: 7 }], 'the config covers it');
});
