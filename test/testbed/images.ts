/**
 * Test images, made here from Debian's static busybox and imported into each engine: there is no
 * registry to pull from. `skep-test/web:1` answers `/cgi-bin/who` with its hostname and the client
 * address it saw.
 */
import {
  chmodSync,
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
import { WEB_IMAGE } from './layout.js';

const BUSYBOX = '/bin/busybox';

const APPLETS = [
  ...['sh', 'cat', 'echo', 'env', 'grep', 'hostname', 'httpd', 'id', 'ip', 'kill', 'ls', 'nc'],
  ...['nslookup', 'ping', 'ps', 'sleep', 'test', 'true', 'false', 'touch', 'wget', 'rm', 'mkdir'],
  ...['seq', 'date', 'head', 'tail', 'dd', 'sed', 'awk', 'tr', 'wc', 'stty', 'mount', 'route'],
];

const WHO = String.raw`#!/bin/sh
echo "Content-Type: text/plain"
echo
# httpd listens on IPv6: it writes clients as [address], IPv4 ones as [::ffff:a.b.c.d].
echo "$(hostname) $(echo "$REMOTE_ADDR" | sed 's/^\[\(.*\)\]$/\1/; s/^::ffff://')"
`;

/**
 * Serves until it is told to stop, and a second longer. httpd alone would not hear of it as process 1,
 * and every task would be killed only when its stop grace period is over.
 */
const SERVE = `httpd -f -h /var/www -p 80 & trap 'sleep 1; exit 0' TERM; wait`;

/** Root file system of the web image as a tar archive. */
async function webRoot(): Promise<Buffer> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'skep-image-'));
  try {
    for (const name of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'var/www/cgi-bin', 'root'])
      mkdirSync(path.join(directory, name), { recursive: true });
    copyFileSync(BUSYBOX, path.join(directory, 'bin/busybox'));
    for (const applet of APPLETS) symlinkSync('busybox', path.join(directory, 'bin', applet));
    writeFileSync(
      path.join(directory, 'etc/passwd'),
      'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n',
    );
    writeFileSync(path.join(directory, 'etc/group'), 'root:x:0:\nweb:x:1000:\n');
    writeFileSync(path.join(directory, 'var/www/index.html'), 'skep-test\n');
    writeFileSync(path.join(directory, 'var/www/cgi-bin/who'), WHO);
    chmodSync(path.join(directory, 'var/www/cgi-bin/who'), 0o755);
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
      ...['--change', `CMD ${JSON.stringify(['/bin/sh', '-c', SERVE])}`],
      ...['--change', 'ENV PATH=/bin'],
      ...['--change', 'EXPOSE 80'],
      ...['-', WEB_IMAGE],
    ],
    { input: await webRoot() },
  );
}
