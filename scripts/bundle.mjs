// Makes the product of the compiled sources: dist/skep/main.js is the `skep` command, with all it imports in
// a few files. Over a thousand of them, each looked for and opened by itself, are more than half of the
// processor time in which skepd starts. What a host needs is dist/skep and the addon, no node_modules.
import { rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const OUTPUT = 'dist/skep';
const LEFT_OUT = './scripts/left-out.mjs';
// Libraries that are not of ECMAScript modules ask for Node's own with `require`.
const REQUIRE = [
  "import { createRequire as createRequireOfBundle } from 'node:module';",
  'const require = createRequireOfBundle(import.meta.url);',
];

const common = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  outdir: OUTPUT,
  banner: { js: REQUIRE.join('\n') },
  // dockerode could also go through SSH, and take part in builds by gRPC.
  alias: { ssh2: LEFT_OUT, '@grpc/grpc-js': LEFT_OUT, '@grpc/proto-loader': LEFT_OUT },
  logLevel: 'warning',
};

rmSync(OUTPUT, { recursive: true, force: true });
await build({ ...common, splitting: true, entryPoints: { main: 'dist/src/cli/main.js' } });
// Programs of their own process or thread. They are small, and a name server is replaced when its file differs.
await build({
  ...common,
  entryPoints: {
    'process/main': 'dist/src/network/dns/process/main.js',
    'writer-thread': 'dist/src/store/wal/writer-thread.js',
  },
});
writeFileSync(`${OUTPUT}/package.json`, '{ "type": "module" }\n');
