/**
 * A machine with Debian's kernel under software emulation, which sees this host's file system
 * read-only: for what only another kernel can show.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { must, run } from '../testbed/commands.js';
import { packageRoot } from '../testbed/layout.js';

const MEMORY_MIB = 3072;
const BUILD_TIMEOUT_MS = 300_000;
/** Modules that no test needs and that would only make the machine start slowly. */
const UNUSED = ['sound', 'drivers/gpu', 'drivers/media', 'drivers/scsi', 'drivers/usb'];

/** Debian's kernel, unpacked, and a first file system for it. */
export interface Machine {
  /** Release, as `uname -r` says it. */
  readonly kernel: string;
  readonly image: string;
  readonly initialRamDisk: string;
}

/** Fetches Debian's current kernel and prepares it; a second call takes what is there. */
export async function prepareMachine(): Promise<Machine> {
  const directory = path.join(packageRoot(), 'build/kernel');
  const name = await kernelPackage();
  const kernel = name.replace('linux-image-', '');
  const unpacked = path.join(directory, name);
  const initialRamDisk = path.join(directory, `${kernel}.initrd`);
  const image = path.join(unpacked, 'boot', `vmlinuz-${kernel}`);
  if (!existsSync(image)) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    execFileSync('apt-get', ['download', '-qq', name], { cwd: directory, stdio: 'ignore' });
    const file = readdirSync(directory).find((entry) => entry.endsWith('.deb')) ?? '';
    await must('dpkg-deb', ['-x', path.join(directory, file), unpacked], {
      timeoutMs: BUILD_TIMEOUT_MS,
    });
    rmSync(path.join(directory, file));
  }
  await buildRamDisk(unpacked, kernel, initialRamDisk);
  return { kernel, image, initialRamDisk };
}

/** What `linux-image-amd64` stands for today. */
async function kernelPackage(): Promise<string> {
  const depends = await must('apt-cache', ['depends', 'linux-image-amd64']);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error('no kernel package is known: apt-get update');
  return name;
}

async function buildRamDisk(unpacked: string, kernel: string, output: string): Promise<void> {
  const root = path.join(path.dirname(output), 'root');
  rmSync(root, { recursive: true, force: true });
  for (const directory of ['bin', 'lib/modules', 'proc', 'sys', 'dev', 'newroot']) {
    mkdirSync(path.join(root, directory), { recursive: true });
  }
  await must('depmod', ['-b', unpacked, kernel]);
  const modules = path.join(root, 'lib/modules', kernel);
  await must('cp', ['-r', path.join(unpacked, 'lib/modules', kernel), modules]);
  for (const unused of UNUSED) {
    rmSync(path.join(modules, 'kernel', unused), { recursive: true, force: true });
  }
  copyFileSync('/bin/busybox', path.join(root, 'bin/busybox'));
  copyFileSync(path.join(packageRoot(), 'test/kernel/init'), path.join(root, 'init'));
  chmodSync(path.join(root, 'init'), 0o755);
  const pack = 'cd "$1" && find . | cpio -o -H newc --quiet | gzip -1 > "$2"';
  await must('sh', ['-c', pack, 'sh', root, output], { timeoutMs: BUILD_TIMEOUT_MS });
  rmSync(root, { recursive: true });
}

/** Runs a shell command in the machine, in this package's directory; its output and exit code. */
export async function runInMachine(
  machine: Machine,
  command: string,
  timeoutMs: number,
): Promise<{ readonly code: number; readonly output: string }> {
  const append = [
    'console=ttyS0 quiet panic=-1',
    `SKEP_DIRECTORY=${packageRoot()}`,
    `SKEP_COMMAND="${command}"`,
  ].join(' ');
  const { stdout, stderr } = await run(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', String(MEMORY_MIB)],
      ...['-nographic', '-no-reboot', '-nic', 'none'],
      ...['-kernel', machine.image, '-initrd', machine.initialRamDisk, '-append', append],
      '-virtfs',
      'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap',
    ],
    { timeoutMs },
  );
  const code = /SKEP-EXIT (\d+)/.exec(stdout)?.[1];
  return { code: code === undefined ? -1 : Number(code), output: stdout + stderr };
}
