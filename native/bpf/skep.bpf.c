/* All programs in one object, so that they share one set of maps. */
#include "answer.bpf.c"
#include "bind.bpf.c"
#include "container.bpf.c"
#include "host.bpf.c"
#include "open.bpf.c"
#include "overlay.bpf.c"
#include "socket.bpf.c"
#include "uplink.bpf.c"
#include "wireguard.bpf.c"

char LICENSE[] SEC("license") = "GPL";
