/** A library that makes flushes of files take longer, as on a slower disk. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { must } from '../../test/testbed/commands.js';

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int fdatasync(int fd) {
  const double ms = atof(getenv("SKEP_BENCH_FLUSH_MS"));
  const struct timespec pause = {(time_t)(ms / 1e3), (long)(ms * 1e6) % 1000000000};
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  nanosleep(&pause, NULL);
  return real(fd);
}
`;

/** Builds it into `directory`; returns what a process whose flushes take `ms` longer is started with. */
export async function slowFlushes(
  directory: string,
  ms: number,
): Promise<Readonly<Record<string, string>>> {
  const library = path.join(directory, 'slow-flush.so');
  const source = `${library}.c`;
  writeFileSync(source, SOURCE);
  await must('cc', ['-shared', '-fPIC', '-O2', '-o', library, source, '-ldl']);
  return { LD_PRELOAD: library, SKEP_BENCH_FLUSH_MS: String(ms) };
}
