/* Sockets of the host itself that mean a published port on 127.0.0.1 or on an own address: their
 * destination becomes the front on sw-h0, where from_host picks them up, and what they are told
 * about their peer is turned back. Attached to the root cgroup beside others' hooks; sockets of
 * other network namespaces are left alone. */
#include "lib/service.h"

#define V4_MAPPED bpf_htonl(0xffff)

static __always_inline struct skep_config *config_for(struct bpf_sock_addr *context)
{
  struct skep_config *config = get_config();
  if (!config || !config->node_id_be || bpf_get_netns_cookie(context) != config->netns_cookie)
    return NULL;
  return config;
}

static __always_inline int is_loopback(__u32 address_be)
{
  return (address_be & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline struct skep_socket_key socket_key(struct bpf_sock_addr *context)
{
  struct skep_socket_key key = {
    .cookie = bpf_get_socket_cookie(context),
    .port_be = (__u16)context->user_port,
    .protocol = (__u16)context->protocol,
  };
  return key;
}

/* The address to go to instead of `address_be`, or 0 to leave it. */
static __always_inline __u32 front_for(struct bpf_sock_addr *context, __u32 address_be,
                                       __u32 bound_be)
{
  struct skep_config *config = config_for(context);
  if (!config)
    return 0;
  if (!is_loopback(address_be) && !bpf_map_lookup_elem(&sw_local, &address_be))
    return 0;
  /* A socket bound to 127.0.0.1 cannot leave by another interface: the kernel refuses it. */
  if (is_loopback(bound_be))
    return 0;
  __u8 protocol = (__u8)context->protocol;
  __u16 port_be = (__u16)context->user_port;
  struct skep_service *service = find_published(protocol, port_be);
  if (service && (service->flags & SKEP_SERVICE_ADDRESSED))
    service = addressed_service(service, 0,
                                is_loopback(address_be) ? bpf_htonl(0x7f000001) : address_be,
                                protocol, port_be);
  if (!service || yields(service))
    return 0;
  struct skep_socket_key socket = socket_key(context);
  bpf_map_update_elem(&sw_socket, &socket, &address_be, BPF_ANY);
  return service->front_be ? service->front_be : config->frontend_be;
}

/* The address the socket meant, if its peer is the front; or 0. */
static __always_inline __u32 meant_by(struct bpf_sock_addr *context, __u32 address_be)
{
  struct skep_config *config = config_for(context);
  if (!config || !is_front(config, address_be))
    return 0;
  struct skep_socket_key socket = socket_key(context);
  __u32 *meant_be = bpf_map_lookup_elem(&sw_socket, &socket);
  return meant_be ? *meant_be : 0;
}

static __always_inline int replace4(struct bpf_sock_addr *context, __u32 address_be)
{
  if (address_be)
    context->user_ip4 = address_be;
  return 1;
}

static __always_inline int is_mapped(struct bpf_sock_addr *context)
{
  return context->user_ip6[0] == 0 && context->user_ip6[1] == 0 &&
         context->user_ip6[2] == V4_MAPPED;
}

static __always_inline int replace6(struct bpf_sock_addr *context, __u32 address_be)
{
  if (address_be)
    context->user_ip6[3] = address_be;
  return 1;
}

static __always_inline __u32 bound_to(struct bpf_sock_addr *context)
{
  struct bpf_sock *socket = context->sk;
  return socket ? socket->src_ip4 : 0;
}

SEC("cgroup/connect4")
int socket_connect4(struct bpf_sock_addr *context)
{
  return replace4(context, front_for(context, context->user_ip4, bound_to(context)));
}

SEC("cgroup/sendmsg4")
int socket_sendmsg4(struct bpf_sock_addr *context)
{
  return replace4(context, front_for(context, context->user_ip4, context->msg_src_ip4));
}

SEC("cgroup/recvmsg4")
int socket_recvmsg4(struct bpf_sock_addr *context)
{
  return replace4(context, meant_by(context, context->user_ip4));
}

SEC("cgroup/getpeername4")
int socket_getpeername4(struct bpf_sock_addr *context)
{
  return replace4(context, meant_by(context, context->user_ip4));
}

SEC("cgroup/connect6")
int socket_connect6(struct bpf_sock_addr *context)
{
  if (!is_mapped(context))
    return 1;
  return replace6(context, front_for(context, context->user_ip6[3], bound_to(context)));
}

SEC("cgroup/sendmsg6")
int socket_sendmsg6(struct bpf_sock_addr *context)
{
  if (!is_mapped(context))
    return 1;
  return replace6(context, front_for(context, context->user_ip6[3], context->msg_src_ip6[3]));
}

SEC("cgroup/recvmsg6")
int socket_recvmsg6(struct bpf_sock_addr *context)
{
  if (!is_mapped(context))
    return 1;
  return replace6(context, meant_by(context, context->user_ip6[3]));
}

SEC("cgroup/getpeername6")
int socket_getpeername6(struct bpf_sock_addr *context)
{
  if (!is_mapped(context))
    return 1;
  return replace6(context, meant_by(context, context->user_ip6[3]));
}
