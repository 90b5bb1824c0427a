// A task that keeps the kernel's hold on its socket while a client comes and goes: it greets each
// connection, then sends from a page that is missing for a while, so that what arrives meanwhile
// waits in the socket's backlog. Says "ready" once it listens; ends with status 77 where
// the kernel gives no userfaultfd.
//
//   slow-task PORT MILLISECONDS
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int faults;
static char *page;
static size_t page_bytes;
static useconds_t delay_us;

static int fail(const char *what)
{
  perror(what);
  return 1;
}

// Fills the page in, `delay_us` after somebody wanted it.
static void *serve_faults(void *unused)
{
  struct uffd_msg message;
  char *zeros = calloc(1, page_bytes);
  while (read(faults, &message, sizeof(message)) == sizeof(message)) {
    usleep(delay_us);
    struct uffdio_copy copy = {
      .dst = (unsigned long)page, .src = (unsigned long)zeros, .len = page_bytes
    };
    ioctl(faults, UFFDIO_COPY, &copy);
  }
  return unused;
}

static int watch_page(void)
{
  page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
  if (faults < 0) {
    perror("userfaultfd");
    exit(77);
  }
  struct uffdio_api api = { .api = UFFD_API };
  if (ioctl(faults, UFFDIO_API, &api))
    return fail("UFFDIO_API");
  page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return fail("mmap");
  struct uffdio_register range = {
    .range = { (unsigned long)page, page_bytes }, .mode = UFFDIO_REGISTER_MODE_MISSING
  };
  if (ioctl(faults, UFFDIO_REGISTER, &range))
    return fail("UFFDIO_REGISTER");
  pthread_t thread;
  return pthread_create(&thread, NULL, serve_faults, NULL) ? fail("pthread_create") : 0;
}

int main(int count, char **arguments)
{
  if (count != 3)
    return 2;
  delay_us = (useconds_t)atoi(arguments[2]) * 1000;
  if (watch_page())
    return 1;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))
  };
  if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 16))
    return fail("listen");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
      return fail("accept");
    madvise(page, page_bytes, MADV_DONTNEED);
    send(connection, ".\n", 2, MSG_NOSIGNAL);
    send(connection, page, 1, MSG_NOSIGNAL);
    close(connection);
  }
}
