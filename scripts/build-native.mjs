// Builds the addon with node-gyp against headers that are already on the machine: node-gyp's own
// default is to download them, and not every host that builds Skep can.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const prefix = path.resolve(process.execPath, '../..');
const candidates = [prefix, '/usr'];
const nodedir = candidates.find((dir) => existsSync(path.join(dir, 'include/node/node_api.h')));
if (nodedir === undefined) {
  console.error(
    `skep: no Node.js headers in ${candidates.join(' or ')}; install the package that holds node_api.h`,
  );
  process.exit(1);
}

// node-gyp comes with npm; it is on PATH only inside npm scripts, so it is looked up beside npm.
const npmRoot = spawnSync('npm', ['root', '-g'], { encoding: 'utf8' }).stdout.trim();
const nodeGyp = createRequire(path.join(npmRoot, 'npm/package.json')).resolve(
  'node-gyp/bin/node-gyp.js',
);
const verb = existsSync('build/config.gypi') ? 'build' : 'rebuild';
const run = (command) =>
  spawnSync(
    process.execPath,
    [nodeGyp, ...command, '--jobs=2', '--silent', `--nodedir=${nodedir}`],
    { stdio: 'inherit' },
  );
const result = verb === 'build' ? (run(['configure']), run(['build'])) : run(['rebuild']);
if (result.error) throw result.error;
process.exit(result.status ?? 1);
