/**
 * Test images, made here from Debian's static busybox and imported into each engine: there is no
 * registry to pull from. `skep-test/web:1` answers `/who` with its hostname and the client address it saw.
 */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { must } from './commands.js';
import { packageRoot, WEB_IMAGE } from './layout.js';

const BUSYBOX = '/bin/busybox';

const APPLETS = [
  ...['sh', 'cat', 'echo', 'env', 'grep', 'hostname', 'httpd', 'id', 'ip', 'kill', 'ls', 'nc'],
  ...['nslookup', 'ping', 'ps', 'sleep', 'test', 'true', 'false', 'touch', 'wget', 'rm', 'mkdir'],
  ...['seq', 'date', 'head', 'tail', 'dd', 'sed', 'awk', 'tr', 'wc', 'stty', 'mount', 'route'],
];

/** Builds the image's web server into `directory`. */
async function buildWebServer(directory: string): Promise<void> {
  const source = path.join(packageRoot(), 'test/testbed/web-server.c');
  const output = path.join(directory, 'bin/web-server');
  await must('gcc', ['-O2', '-Wall', '-Werror', '-static', '-o', output, source]);
}

/** Root file system of the web image as a tar archive. */
async function webRoot(): Promise<Buffer> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-image-'));
  try {
    for (const name of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'var/www', 'root'])
      mkdirSync(path.join(directory, name), { recursive: true });
    copyFileSync(BUSYBOX, path.join(directory, 'bin/busybox'));
    for (const applet of APPLETS) symlinkSync('busybox', path.join(directory, 'bin', applet));
    writeFileSync(
      path.join(directory, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n',
    );
    writeFileSync(path.join(directory, 'etc/group'), 'root:x:0:\nweb:x:1000:\n');
    writeFileSync(path.join(directory, 'var/www/index.html'), 'skep-test\n');
    await buildWebServer(directory);
    const archive = path.join(directory, '..', `${path.basename(directory)}.tar`);
    try {
      await must('tar', ['-C', directory, '--owner=0', '--group=0', '-cf', archive, '.']);
      return readFileSync(archive);
    } finally {
      rmSync(archive, { force: true });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Imports the test images into the engine at `socket`. */
export async function importImages(socket: string): Promise<void> {
  await must(
    '/usr/bin/docker',
    [
      ...['-H', `unix://${socket}`, 'import'],
      ...['--change', `CMD ${JSON.stringify(['/bin/web-server', '80'])}`],
      ...['--change', 'ENV PATH=/bin'],
      ...['--change', 'EXPOSE 80'],
      ...['-', WEB_IMAGE],
    ],
    { input: await webRoot() },
  );
}
