// Load generator of the benches, linked statically so that it runs in an image without a libc.
//   load server PORT                      echoes on PORT; discards on PORT+1
//   load rr ADDRESS PORT SECONDS          one-byte request and response on one connection
//   load crr ADDRESS PORT SECONDS         connect, one request and response, close
//   load stream ADDRESS PORT SECONDS      one connection, as fast as it goes, to PORT+1
// Each client prints one line of JSON: {"count":N,"seconds":S,"p50_us":X,"p99_us":Y} or
// {"bytes":N,"seconds":S}.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX 4000000
#define STREAM_BUFFER_BYTES (128 * 1024)
#define CONNECT_TIMEOUT_SECONDS 5

static double samples[SAMPLES_MAX];

static double now_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *serve_echo(void *argument) {
  int connection = (int)(intptr_t)argument, on = 1;
  char buffer[4096];
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  for (;;) {
    ssize_t length = read(connection, buffer, sizeof buffer);
    if (length <= 0 || write(connection, buffer, length) != length) break;
  }
  close(connection);
  return NULL;
}

static void *serve_discard(void *argument) {
  int connection = (int)(intptr_t)argument;
  char *buffer = malloc(STREAM_BUFFER_BYTES);
  if (buffer == NULL) fail("malloc");
  while (read(connection, buffer, STREAM_BUFFER_BYTES) > 0) {
  }
  free(buffer);
  close(connection);
  return NULL;
}

static int listen_on(int port) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (listen(listener, 4096) < 0) fail("listen");
  return listener;
}

static void serve(int port) {
  struct pollfd listeners[2] = {{.fd = listen_on(port), .events = POLLIN},
                                {.fd = listen_on(port + 1), .events = POLLIN}};
  for (;;) {
    if (poll(listeners, 2, -1) < 0) continue;
    for (int i = 0; i < 2; i++) {
      if (!(listeners[i].revents & POLLIN)) continue;
      int connection = accept(listeners[i].fd, NULL, NULL);
      if (connection < 0) continue;
      pthread_t thread;
      if (pthread_create(&thread, NULL, i == 0 ? serve_echo : serve_discard,
                         (void *)(intptr_t)connection) != 0)
        close(connection);
      else
        pthread_detach(thread);
    }
  }
}

static int connect_to(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct timeval timeout = {.tv_sec = CONNECT_TIMEOUT_SECONDS};
  int on = 1, connection = socket(AF_INET, SOCK_STREAM, 0);
  if (inet_aton(host, &address.sin_addr) == 0) fail("address");
  setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  if (connect(connection, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connection;
}

static void exchange(int connection) {
  char byte = 'x';
  if (write(connection, &byte, 1) != 1) fail("write");
  if (read(connection, &byte, 1) != 1) fail("read");
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void transactions(const char *host, int port, double seconds, int reconnect) {
  int connection = reconnect ? -1 : connect_to(host, port);
  double start = now_seconds(), end = start + seconds, time = start;
  long count = 0;
  while (time < end) {
    if (reconnect) {
      // Reset on close: no client port stays in TIME_WAIT.
      struct linger reset = {.l_onoff = 1, .l_linger = 0};
      connection = connect_to(host, port);
      exchange(connection);
      setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(connection);
    } else {
      exchange(connection);
    }
    double after = now_seconds();
    if (count < SAMPLES_MAX) samples[count] = after - time;
    count++;
    time = after;
  }
  long kept = count < SAMPLES_MAX ? count : SAMPLES_MAX;
  qsort(samples, kept, sizeof samples[0], compare);
  printf("{\"count\":%ld,\"seconds\":%.6f,\"p50_us\":%.2f,\"p99_us\":%.2f}\n", count, time - start,
         samples[kept / 2] * 1e6, samples[kept * 99 / 100] * 1e6);
}

static void stream(const char *host, int port, double seconds) {
  char *buffer = calloc(1, STREAM_BUFFER_BYTES);
  if (buffer == NULL) fail("calloc");
  int connection = connect_to(host, port + 1);
  double start = now_seconds(), end = start + seconds;
  int64_t bytes = 0;
  while (now_seconds() < end) {
    ssize_t length = write(connection, buffer, STREAM_BUFFER_BYTES);
    if (length < 0) fail("write");
    bytes += length;
  }
  printf("{\"bytes\":%lld,\"seconds\":%.6f}\n", (long long)bytes, now_seconds() - start);
  close(connection);
  free(buffer);
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count == 3 && strcmp(arguments[1], "server") == 0) {
    serve(atoi(arguments[2]));
    return 0;
  }
  if (count != 5) {
    fprintf(stderr, "usage: load server PORT | load rr|crr|stream ADDRESS PORT SECONDS\n");
    return 2;
  }
  const char *host = arguments[2];
  int port = atoi(arguments[3]);
  double seconds = atof(arguments[4]);
  if (strcmp(arguments[1], "rr") == 0)
    transactions(host, port, seconds, 0);
  else if (strcmp(arguments[1], "crr") == 0)
    transactions(host, port, seconds, 1);
  else
    stream(host, port, seconds);
  return 0;
}
