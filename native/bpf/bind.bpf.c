/* Published ports are taken, as if a socket of this host held them: a process of the host that asks
 * for one on an address it is published on, or on all addresses, is told so. It is the asking that is
 * refused, not the port the kernel itself picks for a socket that does not care (those are kept away
 * from published ports by net.ipv4.ip_local_reserved_ports). */
#include "lib/host_socket.h"

#define EADDRINUSE 98

/* True if a socket of the host may not have this address and port. */
static __always_inline int is_taken(struct bpf_sock_addr *context,
                                    const struct skep_address *address)
{
  __u16 port_be = (__u16)context->user_port;
  __u8 protocol = (__u8)context->protocol;
  if (!port_be || !config_for(context))
    return 0;
  if (is_any(address)) {
    /* Beside a port that is published on single addresses, the host may have all others. */
    struct skep_service *service = find_published(protocol, port_be);
    return service && !yields(service);
  }
  return is_own(address) && service_at(address, protocol, port_be);
}

static __always_inline int refuse_taken(int taken)
{
  if (!taken)
    return 1;
  bpf_set_retval(-EADDRINUSE);
  return 0;
}

SEC("cgroup/bind4")
int socket_bind4(struct bpf_sock_addr *context)
{
  struct skep_address address = given4(context);
  return refuse_taken(is_taken(context, &address));
}

SEC("cgroup/bind6")
int socket_bind6(struct bpf_sock_addr *context)
{
  struct skep_address address = given6(context);
  return refuse_taken(is_taken(context, &address));
}
