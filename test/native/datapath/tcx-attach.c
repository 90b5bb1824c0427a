/* tcx-attach PROGRAM INTERFACE LINK first|last: puts a pinned program on the tcx ingress hook of an
 * interface, before or behind all that are there, and pins the link. */
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of newer kernels' headers. */
#define TCX_INGRESS 46
#define FLAG_BEFORE (1u << 3)
#define FLAG_AFTER (1u << 4)

static int bpf(int command, union bpf_attr *attr)
{
  int result = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
  if (result < 0)
    perror("bpf");
  return result;
}

int main(int count, char **words)
{
  union bpf_attr attr;
  if (count != 5)
    return 2;
  memset(&attr, 0, sizeof(attr));
  attr.pathname = (unsigned long)words[1];
  int program = bpf(BPF_OBJ_GET, &attr);
  memset(&attr, 0, sizeof(attr));
  attr.link_create.prog_fd = program;
  attr.link_create.target_ifindex = if_nametoindex(words[2]);
  attr.link_create.attach_type = TCX_INGRESS;
  attr.link_create.flags = strcmp(words[4], "first") == 0 ? FLAG_BEFORE : FLAG_AFTER;
  int link = program < 0 ? -1 : bpf(BPF_LINK_CREATE, &attr);
  if (link < 0)
    return 1;
  memset(&attr, 0, sizeof(attr));
  attr.pathname = (unsigned long)words[3];
  attr.bpf_fd = link;
  return bpf(BPF_OBJ_PIN, &attr) < 0;
}
