/**
 * A library that makes flushes of files fail while a certain file exists, as a broken disk would.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { must } from './commands.js';
import { testbedRoot } from './layout.js';

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int flush(const char *name, int fd) {
  const char *fault = getenv("SKEP_TEST_FSYNC_FAULT");
  if (fault != NULL && access(fault, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return real(fd);
}

int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }
`;

/** Flushes of one process: fail between {@link FsyncFault.begin} and {@link FsyncFault.end}. */
export class FsyncFault {
  private constructor(
    private readonly file: string,
    private readonly library: string,
  ) {}

  /** Builds the library. */
  static async make(name: string): Promise<FsyncFault> {
    const library = path.join(testbedRoot(), 'fsync-fault.so');
    if (!existsSync(library)) {
      const source = `${library}.c`;
      writeFileSync(source, SOURCE);
      await must('cc', ['-shared', '-fPIC', '-O2', '-o', library, source, '-ldl']);
    }
    return new FsyncFault(path.join(testbedRoot(), `fsync-fault-${name}`), library);
  }

  /** What the process has to be started with. */
  get environment(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: this.library, SKEP_TEST_FSYNC_FAULT: this.file };
  }

  begin(): void {
    writeFileSync(this.file, '');
  }

  end(): void {
    rmSync(this.file, { force: true });
  }
}
