// Puts raw frames on an interface and takes them off, for the fuzzer. A file of frames holds for
// each its length in two bytes, high byte first, and then the frame.
//
//   frames send INTERFACE FILE     sends every frame of FILE
//   frames watch INTERFACE         writes every frame that arrives to standard output, until SIGTERM
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char frame[65536];

static int fail(const char *what)
{
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return 1;
}

static int send_all(int fd, const char *path)
{
  FILE *file = fopen(path, "rb");
  if (!file)
    return fail(path);
  unsigned sent = 0, refused = 0;
  for (;;) {
    int high = fgetc(file), low = fgetc(file);
    if (high < 0 || low < 0)
      break;
    size_t length = (size_t)high << 8 | (size_t)low;
    if (fread(frame, 1, length, file) != length)
      break;
    // Frames that are too short or too long never reach the wire; neither do they reach us.
    if (send(fd, frame, length, 0) < 0)
      refused++;
    else
      sent++;
    // Queues hold a thousand packets: let them be taken off.
    if (sent % 64 == 0)
      usleep(500);
  }
  fclose(file);
  printf("%u %u\n", sent, refused);
  return 0;
}

static int watch(int fd)
{
  for (;;) {
    struct sockaddr_ll from;
    socklen_t size = sizeof(from);
    ssize_t length = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &size);
    if (length < 0)
      return fail("recvfrom");
    if (from.sll_pkttype == PACKET_OUTGOING)
      continue;
    unsigned char head[2] = { (unsigned char)(length >> 8), (unsigned char)length };
    if (fwrite(head, 1, 2, stdout) != 2 || fwrite(frame, 1, (size_t)length, stdout) != (size_t)length ||
        fflush(stdout) != 0)
      return fail("write");
  }
}

int main(int argc, char **argv)
{
  if (argc < 3)
    return 2;
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  if (fd < 0)
    return fail("socket");
  struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
  address.sll_ifindex = (int)if_nametoindex(argv[2]);
  if (address.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
    return fail(argv[2]);
  if (argc == 4 && strcmp(argv[1], "send") == 0)
    return send_all(fd, argv[3]);
  if (strcmp(argv[1], "watch") == 0)
    return watch(fd);
  return 2;
}
