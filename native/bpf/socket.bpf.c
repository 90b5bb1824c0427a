/* Sockets of the host itself that mean a published port on 127.0.0.1, ::1 or an own address: their
 * destination becomes a front on sw-h0, where from_host picks them up, and what they are told about
 * their peer is turned back. A socket bound to a loopback address goes the same way: sw-h0, and no
 * other device, lets such a source leave (route_localnet), and from_host lends it the node's own
 * address. A socket that means an IPv6 address gets the IPv4-mapped front where the kernel takes that: many
 * tasks listen on IPv4 only. The others get one of IPv6, if the ingress network has any. Attached to the
 * root cgroup beside others' hooks; sockets of other network namespaces are left alone. */
#include "lib/host_socket.h"

static __always_inline struct skep_socket_key socket_key(struct bpf_sock_addr *context)
{
  struct skep_socket_key key = {
    .cookie = bpf_get_socket_cookie(context),
    .port_be = (__u16)context->user_port,
    .protocol = (__u16)context->protocol,
  };
  return key;
}

/* Verdicts of the hooks. */
#define REFUSE 0
#define ACCEPT 1

/* The front to go to instead of `asked`, or 0 to leave it. */
static __always_inline __u32 front_for(struct bpf_sock_addr *context, struct skep_config *config,
                                       struct skep_address *asked)
{
  /* A socket that may use one interface only would not get to a front. */
  struct bpf_sock *socket = context->sk;
  if (!socket || socket->bound_dev_if)
    return 0;
  /* The kernel takes 0.0.0.0 for 127.0.0.1, and :: for ::1. */
  if (is_any(asked)) {
    asked->word_be[3] = is_v4(asked) ? bpf_htonl(0x7f000001) : bpf_htonl(1);
  }
  if (!is_own(asked))
    return 0;
  struct skep_service *service =
      service_at(asked, (__u8)context->protocol, (__u16)context->user_port);
  if (!service)
    return 0;
  struct skep_socket_key key = socket_key(context);
  bpf_map_update_elem(&sw_socket, &key, asked, BPF_ANY);
  return service->front_be ? service->front_be : config->frontend_be;
}

/* True if a socket bound to a loopback address wants to leave over sw-h0 for an overlay network. It
 * cannot, as on any other device. */
static __always_inline int is_stray(const struct skep_address *asked,
                                    const struct skep_address *bound)
{
  if (!is_v4(asked) || !is_loopback(bound))
    return 0;
  struct skep_subnet_key subnet = { 128, *asked };
  return bpf_map_lookup_elem(&sw_subnet, &subnet) != NULL;
}

static __always_inline int send4(struct bpf_sock_addr *context, __u32 bound_be)
{
  struct skep_config *config = config_for(context);
  if (!config)
    return ACCEPT;
  struct skep_address asked = given4(context);
  struct skep_address bound = from_v4(bound_be);
  if (is_stray(&asked, &bound))
    return REFUSE;
  __u32 front_be = front_for(context, config, &asked);
  if (front_be)
    context->user_ip4 = front_be;
  return ACCEPT;
}

static __always_inline void put6(struct bpf_sock_addr *context, const struct skep_address *address)
{
  context->user_ip6[0] = address->word_be[0];
  context->user_ip6[1] = address->word_be[1];
  context->user_ip6[2] = address->word_be[2];
  context->user_ip6[3] = address->word_be[3];
}

/* The address the socket meant, if its peer is a front; or NULL. */
static __always_inline struct skep_address *meant_by(struct bpf_sock_addr *context,
                                                     const struct skep_address *peer)
{
  struct skep_config *config = config_for(context);
  if (!config || !is_front(config, peer))
    return NULL;
  struct skep_socket_key socket = socket_key(context);
  return bpf_map_lookup_elem(&sw_socket, &socket);
}

static __always_inline int show4(struct bpf_sock_addr *context)
{
  struct skep_address peer = given4(context);
  struct skep_address *meant = meant_by(context, &peer);
  if (meant)
    context->user_ip4 = meant->word_be[3];
  return ACCEPT;
}

static __always_inline int show6(struct bpf_sock_addr *context)
{
  struct skep_address peer = given6(context);
  struct skep_address *meant = meant_by(context, &peer);
  if (meant)
    put6(context, meant);
  return ACCEPT;
}

SEC("cgroup/connect4")
int socket_connect4(struct bpf_sock_addr *context)
{
  struct bpf_sock *socket = context->sk;
  return send4(context, socket ? socket->src_ip4 : 0);
}

SEC("cgroup/sendmsg4")
int socket_sendmsg4(struct bpf_sock_addr *context)
{
  return send4(context, context->msg_src_ip4);
}

SEC("cgroup/recvmsg4")
int socket_recvmsg4(struct bpf_sock_addr *context)
{
  return show4(context);
}

SEC("cgroup/getpeername4")
int socket_getpeername4(struct bpf_sock_addr *context)
{
  return show4(context);
}

static __always_inline struct skep_address bound6(struct bpf_sock_addr *context)
{
  struct skep_address address = {};
  struct bpf_sock *socket = context->sk;
  if (socket) {
    address.word_be[0] = socket->src_ip6[0];
    address.word_be[1] = socket->src_ip6[1];
    address.word_be[2] = socket->src_ip6[2];
    address.word_be[3] = socket->src_ip6[3];
  }
  return address;
}

/* `mapped` says whether the kernel takes an IPv4-mapped address in place of an IPv6 one. */
static __always_inline int send6(struct bpf_sock_addr *context, struct skep_address *bound,
                                 int mapped)
{
  struct skep_config *config = config_for(context);
  if (!config)
    return ACCEPT;
  struct skep_address asked = given6(context);
  if (is_stray(&asked, bound))
    return REFUSE;
  int v6 = !mapped && !is_v4(&asked);
  if (v6 && !is_given(&config->fronts6))
    return ACCEPT;
  __u32 front_be = front_for(context, config, &asked);
  if (!front_be)
    return ACCEPT;
  struct skep_address front = from_v4(front_be);
  if (v6) {
    front = config->fronts6;
    front.word_be[3] = front_be;
  }
  put6(context, &front);
  return ACCEPT;
}

SEC("cgroup/connect6")
int socket_connect6(struct bpf_sock_addr *context)
{
  struct skep_address bound = bound6(context);
  /* The kernel makes a socket that is bound to an IPv6 address IPv6 only. */
  return send6(context, &bound, is_any6(&bound) || is_v4(&bound));
}

SEC("cgroup/sendmsg6")
int socket_sendmsg6(struct bpf_sock_addr *context)
{
  struct skep_address bound = { { context->msg_src_ip6[0], context->msg_src_ip6[1],
                                  context->msg_src_ip6[2], context->msg_src_ip6[3] } };
  return send6(context, &bound, 0);
}

SEC("cgroup/recvmsg6")
int socket_recvmsg6(struct bpf_sock_addr *context)
{
  return show6(context);
}

SEC("cgroup/getpeername6")
int socket_getpeername6(struct bpf_sock_addr *context)
{
  return show6(context);
}
