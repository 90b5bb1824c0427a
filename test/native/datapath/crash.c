/* Preloaded into a process: ends it, as kill -9 would, right before the n-th step (SKEP_TEST_CRASH_AT)
 * that changes what other processes find: pins, links, and their names. Or counts the steps: a byte for
 * each goes into a file (SKEP_TEST_STEPS). Of the pins of programs, of which there are many that mean nothing
 * before they are attached, each eighth is a step. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void step(void)
{
  static int steps;
  const char *at = getenv("SKEP_TEST_CRASH_AT");
  const char *counted = getenv("SKEP_TEST_STEPS");
  int file = counted ? open(counted, O_CREAT | O_WRONLY | O_APPEND, 0600) : -1;
  if (file >= 0 && (write(file, ".", 1) != 1 || close(file) < 0))
    abort();
  if (at && ++steps == atoi(at))
    kill(getpid(), SIGKILL);
}

static void step_at(const char *path)
{
  static int programs;
  if (strstr(path, "/programs/") == NULL || programs++ % 8 == 0)
    step();
}

long syscall(long number, ...)
{
  static long (*next)(long, ...);
  if (!next)
    next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
  long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number == SYS_bpf && a == BPF_OBJ_PIN)
    step_at((const char *)(unsigned long)((const union bpf_attr *)b)->pathname);
  if (number == SYS_bpf && (a == BPF_LINK_CREATE || a == BPF_LINK_UPDATE))
    step();
  return next(number, a, b, c, d, e, f);
}

int rename(const char *from, const char *to)
{
  static int (*next)(const char *, const char *);
  if (!next)
    next = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  step();
  return next(from, to);
}

int unlink(const char *path)
{
  static int (*next)(const char *);
  if (!next)
    next = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
  step_at(path);
  return next(path);
}
