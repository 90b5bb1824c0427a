// Load generator of the benches, linked statically so that it runs in an image without a libc.
//   load server PORT                      echoes on PORT; discards on PORT+1; floods on PORT+2; counts datagrams on PORT
//   load rr ADDRESS PORT SECONDS          one-byte request and response on one connection
//   load crr ADDRESS PORT SECONDS         connect, one request and response, close
//   load stream ADDRESS PORT SECONDS      one connection, as fast as it goes, to PORT+1
//   load download ADDRESS PORT SECONDS    the same the other way, from PORT+2
//   load datagrams ADDRESS PORT SECONDS   64-byte packets as fast as they go; counts those that arrived
// Each client prints one line of JSON: {"count":N,"seconds":S,"p50_us":X,"p99_us":Y} or
// {"bytes":N,"seconds":S}.
#define _GNU_SOURCE
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
// A UDP packet of 64 bytes with its IPv4 and UDP headers.
#define DATAGRAM_BYTES (64 - 20 - 8)
#define DATAGRAMS_A_CALL 32
#define COUNT_TRIES 20

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

static void *serve_flood(void *argument) {
  int connection = (int)(intptr_t)argument;
  char *buffer = calloc(1, STREAM_BUFFER_BYTES);
  if (buffer == NULL) fail("calloc");
  while (write(connection, buffer, STREAM_BUFFER_BYTES) > 0) {
  }
  free(buffer);
  close(connection);
  return NULL;
}

// What a datagram carries: those of a run are counted, a question is answered with the count so far.
struct datagram {
  uint64_t run;
  uint32_t is_question;
  uint32_t count;
  char padding[DATAGRAM_BYTES - 16];
};

static void *count_datagrams(void *argument) {
  int port = (int)(intptr_t)argument, size = 4 << 20;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int counter = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(counter, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (bind(counter, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  uint64_t run = 0;
  uint32_t count = 0;
  for (;;) {
    struct datagram datagrams[DATAGRAMS_A_CALL];
    struct sockaddr_in sender;
    struct iovec vectors[DATAGRAMS_A_CALL];
    struct mmsghdr messages[DATAGRAMS_A_CALL] = {0};
    for (int i = 0; i < DATAGRAMS_A_CALL; i++) {
      vectors[i] = (struct iovec){&datagrams[i], sizeof datagrams[i]};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
      messages[i].msg_hdr.msg_name = i == 0 ? &sender : NULL;
      messages[i].msg_hdr.msg_namelen = i == 0 ? sizeof sender : 0;
    }
    int received = recvmmsg(counter, messages, DATAGRAMS_A_CALL, MSG_WAITFORONE, NULL);
    if (received < 0 && errno != EINTR) return NULL;
    for (int i = 0; i < received; i++) {
      if (messages[i].msg_len != sizeof(struct datagram)) continue;
      if (datagrams[i].run != run) run = datagrams[i].run, count = 0;
      if (!datagrams[i].is_question) {
        count++;
      } else if (i == 0) {
        // A question behind others has no sender here; the client asks again.
        datagrams[i].count = count;
        sendto(counter, &datagrams[i], sizeof datagrams[i], 0, (struct sockaddr *)&sender,
               sizeof sender);
      }
    }
  }
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
  void *(*const servers[])(void *) = {serve_echo, serve_discard, serve_flood};
  struct pollfd listeners[3];
  for (int i = 0; i < 3; i++)
    listeners[i] = (struct pollfd){.fd = listen_on(port + i), .events = POLLIN};
  pthread_t counter;
  if (pthread_create(&counter, NULL, count_datagrams, (void *)(intptr_t)port) != 0) fail("thread");
  for (;;) {
    if (poll(listeners, 3, -1) < 0) continue;
    for (int i = 0; i < 3; i++) {
      if (!(listeners[i].revents & POLLIN)) continue;
      int connection = accept(listeners[i].fd, NULL, NULL);
      if (connection < 0) continue;
      pthread_t thread;
      if (pthread_create(&thread, NULL, servers[i], (void *)(intptr_t)connection) != 0)
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

static void download(const char *host, int port, double seconds) {
  char *buffer = malloc(STREAM_BUFFER_BYTES);
  if (buffer == NULL) fail("malloc");
  int connection = connect_to(host, port + 2);
  double start = now_seconds(), end = start + seconds;
  int64_t bytes = 0;
  while (now_seconds() < end) {
    ssize_t length = read(connection, buffer, STREAM_BUFFER_BYTES);
    if (length <= 0) fail("read");
    bytes += length;
  }
  printf("{\"bytes\":%lld,\"seconds\":%.6f}\n", (long long)bytes, now_seconds() - start);
  close(connection);
  free(buffer);
}

static void datagrams(const char *host, int port, double seconds) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct timeval timeout = {.tv_usec = 200000};
  struct datagram datagram = {.run = (uint64_t)(now_seconds() * 1e9)}, answer;
  struct iovec vector = {&datagram, sizeof datagram};
  struct mmsghdr messages[DATAGRAMS_A_CALL] = {0};
  for (int i = 0; i < DATAGRAMS_A_CALL; i++)
    messages[i].msg_hdr = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1};
  int sender = socket(AF_INET, SOCK_DGRAM, 0);
  if (inet_aton(host, &address.sin_addr) == 0) fail("address");
  setsockopt(sender, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  if (connect(sender, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  double start = now_seconds(), end = start + seconds;
  while (now_seconds() < end)
    if (sendmmsg(sender, messages, DATAGRAMS_A_CALL, 0) < 0 && errno != ENOBUFS) fail("send");
  double spent = now_seconds() - start;
  datagram.is_question = 1;
  for (int tries = 0; tries < COUNT_TRIES; tries++) {
    send(sender, &datagram, sizeof datagram, 0);
    if (recv(sender, &answer, sizeof answer, 0) == sizeof answer && answer.run == datagram.run) {
      printf("{\"count\":%u,\"seconds\":%.6f}\n", answer.count, spent);
      return;
    }
  }
  errno = ETIMEDOUT;
  fail("count");
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count == 3 && strcmp(arguments[1], "server") == 0) {
    serve(atoi(arguments[2]));
    return 0;
  }
  if (count != 5) {
    fprintf(stderr, "usage: load server PORT | load rr|crr|stream|download|datagrams ADDRESS PORT SECONDS\n");
    return 2;
  }
  const char *host = arguments[2];
  int port = atoi(arguments[3]);
  double seconds = atof(arguments[4]);
  if (strcmp(arguments[1], "rr") == 0)
    transactions(host, port, seconds, 0);
  else if (strcmp(arguments[1], "crr") == 0)
    transactions(host, port, seconds, 1);
  else if (strcmp(arguments[1], "datagrams") == 0)
    datagrams(host, port, seconds);
  else if (strcmp(arguments[1], "download") == 0)
    download(host, port, seconds);
  else
    stream(host, port, seconds);
  return 0;
}
