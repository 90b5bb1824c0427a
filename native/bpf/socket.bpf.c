/* Sockets of the host itself that mean a published port on 127.0.0.1 or on an own address: their
 * destination becomes the front on sw-h0, where from_host picks them up, and what they are told
 * about their peer is turned back. Attached to the root cgroup beside others' hooks; sockets of
 * other network namespaces are left alone. */
#include "lib/service.h"

static __always_inline struct skep_config *config_for(struct bpf_sock_addr *context)
{
  struct skep_config *config = get_config();
  if (!config || !config->node_id_be || bpf_get_netns_cookie(context) != config->netns_cookie)
    return NULL;
  return config;
}

/* 127.0.0.0/8 or ::1. */
static __always_inline int is_loopback(struct skep_address *address)
{
  if (is_v4(address))
    return (address->word_be[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
  return (address->word_be[0] | address->word_be[1] | address->word_be[2]) == 0 &&
         address->word_be[3] == bpf_htonl(1);
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

/* The address that stands for published ports in the family of `address`; NULL if there is none. */
static __always_inline struct skep_address *front_of(struct skep_config *config,
                                                     struct skep_address *address)
{
  if (is_v4(address))
    return &config->frontend;
  return is_given(&config->frontend6) ? &config->frontend6 : NULL;
}

/* The address to go to instead of `address`, or NULL to leave it. */
static __always_inline struct skep_address *front_for(struct bpf_sock_addr *context,
                                                      struct skep_address *address,
                                                      struct skep_address *bound)
{
  struct skep_config *config = config_for(context);
  if (!config)
    return NULL;
  if (!is_loopback(address) && !bpf_map_lookup_elem(&sw_local, address))
    return NULL;
  /* A socket bound to 127.0.0.1 cannot leave by another interface: the kernel refuses it. */
  if (is_loopback(bound))
    return NULL;
  struct skep_service_key key = {
    .port_be = (__u16)context->user_port,
    .protocol = (__u8)context->protocol,
  };
  struct skep_address *front = front_of(config, address);
  if (!front || !bpf_map_lookup_elem(&sw_service, &key))
    return NULL;
  struct skep_socket_key socket = socket_key(context);
  bpf_map_update_elem(&sw_socket, &socket, address, BPF_ANY);
  return front;
}

/* The address the socket meant, if its peer is the front; or NULL. */
static __always_inline struct skep_address *meant_by(struct bpf_sock_addr *context,
                                                     struct skep_address *address)
{
  struct skep_config *config = config_for(context);
  struct skep_address *front = config ? front_of(config, address) : NULL;
  if (!front || !same_address(front, address))
    return NULL;
  struct skep_socket_key socket = socket_key(context);
  return bpf_map_lookup_elem(&sw_socket, &socket);
}

static __always_inline struct skep_address asked4(struct bpf_sock_addr *context)
{
  return from_v4(context->user_ip4);
}

static __always_inline struct skep_address asked6(struct bpf_sock_addr *context)
{
  struct skep_address address = { { context->user_ip6[0], context->user_ip6[1],
                                    context->user_ip6[2], context->user_ip6[3] } };
  return address;
}

static __always_inline int replace4(struct bpf_sock_addr *context, struct skep_address *address)
{
  if (address)
    context->user_ip4 = address->word_be[3];
  return 1;
}

static __always_inline int replace6(struct bpf_sock_addr *context, struct skep_address *address)
{
  if (address) {
    context->user_ip6[0] = address->word_be[0];
    context->user_ip6[1] = address->word_be[1];
    context->user_ip6[2] = address->word_be[2];
    context->user_ip6[3] = address->word_be[3];
  }
  return 1;
}

static __always_inline struct skep_address bound4(struct bpf_sock_addr *context)
{
  struct bpf_sock *socket = context->sk;
  return from_v4(socket ? socket->src_ip4 : 0);
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

SEC("cgroup/connect4")
int socket_connect4(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked4(context);
  struct skep_address bound = bound4(context);
  return replace4(context, front_for(context, &asked, &bound));
}

SEC("cgroup/sendmsg4")
int socket_sendmsg4(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked4(context);
  struct skep_address bound = from_v4(context->msg_src_ip4);
  return replace4(context, front_for(context, &asked, &bound));
}

SEC("cgroup/recvmsg4")
int socket_recvmsg4(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked4(context);
  return replace4(context, meant_by(context, &asked));
}

SEC("cgroup/getpeername4")
int socket_getpeername4(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked4(context);
  return replace4(context, meant_by(context, &asked));
}

SEC("cgroup/connect6")
int socket_connect6(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked6(context);
  struct skep_address bound = bound6(context);
  return replace6(context, front_for(context, &asked, &bound));
}

SEC("cgroup/sendmsg6")
int socket_sendmsg6(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked6(context);
  struct skep_address bound = { { context->msg_src_ip6[0], context->msg_src_ip6[1],
                                  context->msg_src_ip6[2], context->msg_src_ip6[3] } };
  return replace6(context, front_for(context, &asked, &bound));
}

SEC("cgroup/recvmsg6")
int socket_recvmsg6(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked6(context);
  return replace6(context, meant_by(context, &asked));
}

SEC("cgroup/getpeername6")
int socket_getpeername6(struct bpf_sock_addr *context)
{
  struct skep_address asked = asked6(context);
  return replace6(context, meant_by(context, &asked));
}
