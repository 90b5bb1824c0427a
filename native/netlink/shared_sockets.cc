// See shared_sockets.h.
#include "netlink/shared_sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "netlink/system_error.h"

namespace skep::netlink {
namespace {

// Questions that may wait while the event loop is busy.
constexpr int kListenBacklog = 128;

UniqueFd MakeBound(int type, const sockaddr_in& address) {
  UniqueFd made(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.valid()) throw SystemError(errno, "socket");
  const int on = 1;
  // Only processes of the same user share a port.
  if (::setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    throw SystemError(errno, "setsockopt(SO_REUSEPORT)");
  }
  // Connections of a process that has just ended must not keep the address.
  if (type == SOCK_STREAM &&
      ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    throw SystemError(errno, "setsockopt(SO_REUSEADDR)");
  }
  if (::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw SystemError(errno, "bind");
  }
  return made;
}

sockaddr_in NameOf(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw SystemError(errno, "getsockname");
  }
  return address;
}

}  // namespace

SharedSockets OpenSharedSockets(const std::string& address, uint16_t port) {
  sockaddr_in wanted{};
  wanted.sin_family = AF_INET;
  wanted.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &wanted.sin_addr) != 1) {
    throw SystemError(EINVAL, "bind", address + " is no IPv4 address");
  }
  SharedSockets sockets;
  sockets.udp = MakeBound(SOCK_DGRAM, wanted);
  sockets.tcp = MakeBound(SOCK_STREAM, NameOf(sockets.udp.get()));
  if (::listen(sockets.tcp.get(), kListenBacklog) != 0) throw SystemError(errno, "listen");
  return sockets;
}

void TurnAway(int udp) {
  // Connected to itself it takes datagrams from itself only, and nothing is sent from there.
  const sockaddr_in own = NameOf(udp);
  if (::connect(udp, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    throw SystemError(errno, "connect");
  }
}

}  // namespace skep::netlink
