// Binding and connecting; see sockets.h.
#include "gossip/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace skep::gossip {
namespace {

constexpr int kReceiveBufferBytes = 2 << 20;
constexpr int kListenBacklog = 256;

int FamilyOf(const Endpoint& endpoint) { return endpoint.ip_length == 4 ? AF_INET : AF_INET6; }

Fd OpenBound(const Endpoint& address, int type) {
  const int family = FamilyOf(address);
  Fd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) throw SystemFailure{errno, "socket"};
  const int on = 1, off = 0;
  if (type == SOCK_STREAM) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  const SocketAddress to = ToSocketAddress(address, family);
  if (bind(fd.get(), to.get(), to.length) != 0) throw SystemFailure{errno, "bind"};
  return fd;
}

}  // namespace

SocketAddress ToSocketAddress(const Endpoint& endpoint, int family) {
  SocketAddress out;
  if (family == AF_INET) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    if (endpoint.ip_length == 4) std::memcpy(&v4->sin_addr, endpoint.ip.data(), 4);
    out.length = sizeof *v4;
    return out;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(endpoint.port);
  if (endpoint.ip_length == 16) {
    std::memcpy(&v6->sin6_addr, endpoint.ip.data(), 16);
  } else {
    v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xff;
    std::memcpy(v6->sin6_addr.s6_addr + 12, endpoint.ip.data(), 4);
  }
  out.length = sizeof *v6;
  return out;
}

Endpoint FromSocketAddress(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
    const auto* raw = reinterpret_cast<const uint8_t*>(&v4->sin_addr);
    return EndpointFromBytes({raw, 4}, ntohs(v4->sin_port)).value_or(Endpoint{});
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
  return EndpointFromBytes({v6->sin6_addr.s6_addr, 16}, ntohs(v6->sin6_port)).value_or(Endpoint{});
}

Fd BindUdp(const Endpoint& address) {
  Fd fd = OpenBound(address, SOCK_DGRAM);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBufferBytes, sizeof kReceiveBufferBytes);
  return fd;
}

Fd BindTcp(const Endpoint& address) {
  Fd fd = OpenBound(address, SOCK_STREAM);
  if (listen(fd.get(), kListenBacklog) != 0) throw SystemFailure{errno, "listen"};
  return fd;
}

Fd StartConnect(const Endpoint& to) {
  const int family = FamilyOf(to);
  Fd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return {};
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const SocketAddress address = ToSocketAddress(to, family);
  if (connect(fd.get(), address.get(), address.length) == 0 || errno == EINPROGRESS) return fd;
  return {};
}

}  // namespace skep::gossip
